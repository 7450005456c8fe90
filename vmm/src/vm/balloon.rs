//! What can be asked of the balloon.

use devices::balloon::{Balloon, BalloonSpec, ControlError, HintStatus, PAGES_PER_MIB, Statistics};

use crate::memory::Size;

/// One thing to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalloonAsk {
    /// As it is set now; of a machine that is not started too.
    Describe,
    /// Changes how many MiB the guest is to give up.
    SetAmount(u32),
    Statistics,
    /// Changes the seconds between two reports.
    SetInterval(u16),
    /// Whether the guest has its pages back when it has told of all.
    StartHinting {
        acknowledges: bool,
    },
    StopHinting,
    Hinting,
}

/// What it answers.
#[derive(Debug)]
pub enum BalloonReply {
    Done,
    Spec(BalloonSpec),
    Statistics {
        /// Pages of 4 KiB that the guest is to give up.
        target: u32,
        /// That it says it gave up.
        actual: u32,
        told: Box<Statistics>,
    },
    Hinting(HintStatus),
}

/// Why the balloon did not do something. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum BalloonError {
    #[error("there is none; a machine has one that was given it before its start")]
    None,
    #[error("{0} MiB are more than the machine's {1}; ask for less")]
    TooMuch(u32, Size),
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// The balloon's amount as a part of `memory`, in pages. Fails if it is more than all.
pub fn pages(amount_mib: u32, memory: Size) -> Result<u32, BalloonError> {
    let pages = amount_mib.checked_mul(PAGES_PER_MIB);
    let fits = |_: &u32| u64::from(amount_mib) << 20 <= memory.0;
    pages.filter(fits).ok_or(BalloonError::TooMuch(amount_mib, memory))
}

/// The balloon `spec` as it is now.
pub fn live(spec: &BalloonSpec, balloon: &Balloon) -> BalloonSpec {
    BalloonSpec {
        amount_mib: balloon.target() / PAGES_PER_MIB,
        statistics_s: balloon.interval_s(),
        ..spec.clone()
    }
}

/// Asks the balloon of a machine with so much `memory`. Fails if it cannot do it.
pub fn answer(
    spec: &BalloonSpec,
    balloon: &Balloon,
    memory: Size,
    ask: BalloonAsk,
) -> Result<BalloonReply, BalloonError> {
    match ask {
        BalloonAsk::Describe => return Ok(BalloonReply::Spec(live(spec, balloon))),
        BalloonAsk::Statistics => {
            let told = Box::new(balloon.statistics()?);
            let (target, actual) = (balloon.target(), balloon.actual());
            return Ok(BalloonReply::Statistics { target, actual, told });
        }
        BalloonAsk::Hinting => return Ok(BalloonReply::Hinting(balloon.hinting()?)),
        BalloonAsk::SetAmount(amount_mib) => balloon.set_target(pages(amount_mib, memory)?),
        BalloonAsk::SetInterval(seconds) => balloon.set_interval(seconds)?,
        BalloonAsk::StartHinting { acknowledges } => balloon.start_hinting(acknowledges)?,
        BalloonAsk::StopHinting => balloon.stop_hinting()?,
    }
    Ok(BalloonReply::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_can_give_up_all_of_its_memory_and_not_more() {
        assert_eq!(pages(0, Size(1 << 20)).unwrap(), 0);
        assert_eq!(pages(128, Size(128 << 20)).unwrap(), 32768);
        for (amount, memory) in [(129, Size(128 << 20)), (1, Size((1 << 20) - 4096))] {
            let said = pages(amount, memory).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{amount} MiB are more than")), "{said}");
        }
        assert!(pages(u32::MAX, Size(8 << 40)).is_err(), "16 TiB of pages have no number");
    }
}
