//! A vsock (virtio 1.2, 5.10) that is polled, and what the host finds behind the guest's ports.

mod calls;
mod connection;
mod link;
mod services;

use core::hint::spin_loop;

use crate::options::Options;
use crate::pci::Ground;
use crate::random::Random;
use crate::storm::Storm;
use crate::virtio::Place;
use link::Link;
use services::Services;

/// What to do with a vsock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// `vsock=serve`: whoever connects finds services.
    Serve,
    /// `vsock=storm`: whatever a broken or hostile driver may do to it, again and again.
    Storm,
}

/// Serves for ever.
pub fn run(place: Place, options: &Options) -> ! {
    let mut link = Link::open(place, options);
    let mut services = Services::new(options.seed, true);
    loop {
        if !services.turn(&mut link) {
            spin_loop();
        }
    }
}

/// Holds a storm against the device, as often as `count=` says in all, and serves behind each part of it, and for ever
/// behind the last, to whoever would know whether the device works.
pub fn weather(place: Place, ground: &Ground, options: &Options) -> ! {
    let (mut storm, mut random) = (Storm::new(ground, options), Random(options.seed));
    loop {
        let strikes = storm.part(|_| {
            let mut link = Link::open(place, options);
            link.sow(&mut random);
            Some(link.targets(place))
        });
        let is_over = strikes >= options.count;
        let (mut link, mut services) =
            (Link::open(place, options), Services::new(options.seed, is_over));
        // Until somebody has been here.
        while is_over || services.ended() == 0 {
            services.turn(&mut link);
        }
    }
}
