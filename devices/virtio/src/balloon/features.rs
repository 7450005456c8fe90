//! Feature bits of a balloon (virtio 1.2, 5.5.3), and which queues they bring.

use super::spec::BalloonSpec;

/// VIRTIO_BALLOON_F_STATS_VQ: the guest tells about its memory.
pub const STATISTICS: u64 = 1 << 1;
/// VIRTIO_BALLOON_F_DEFLATE_ON_OOM: the driver takes pages back before the guest runs out of memory.
pub const DEFLATE_ON_OOM: u64 = 1 << 2;
/// VIRTIO_BALLOON_F_FREE_PAGE_HINT: free pages are told on demand.
pub const HINTING: u64 = 1 << 3;
/// VIRTIO_BALLOON_F_PAGE_POISON: the driver says what its free pages hold.
pub const POISON: u64 = 1 << 4;
/// VIRTIO_BALLOON_F_PAGE_REPORTING: free pages are told all the time.
pub const REPORTING: u64 = 1 << 5;

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Inflate,
    Deflate,
    Statistics,
    Hinting,
    Reporting,
}

/// What a balloon offers.
///
/// A guest that fills its free pages must be able to say so, or it could not tell of them.
pub(super) fn offered(spec: &BalloonSpec) -> u64 {
    let with = |on: bool, feature: u64| if on { feature } else { 0 };
    with(spec.statistics_s > 0, STATISTICS)
        | with(spec.deflate_on_oom, DEFLATE_ON_OOM)
        | with(spec.hinting, HINTING)
        | with(spec.hinting || spec.reporting, POISON)
        | with(spec.reporting, REPORTING)
}

/// What the queues are for, by their numbers. One that is not negotiated has no number, and those behind it move
/// up, as drivers have it (Linux, `virtio_find_vqs`).
pub(super) fn roles(features: u64) -> impl Iterator<Item = Role> {
    let all = [
        (0, Role::Inflate),
        (0, Role::Deflate),
        (STATISTICS, Role::Statistics),
        (HINTING, Role::Hinting),
        (REPORTING, Role::Reporting),
    ];
    all.into_iter().filter(move |(needs, _)| features & needs == *needs).map(|(_, role)| role)
}
