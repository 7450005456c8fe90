//! An engine by script, for tests: it holds tasks back, lets them go in any order, and has them fail or come
//! short, as it is told. What goes through is done on an image in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard};

use device_core::kick::borrow;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::calls::carry_out;
use super::{Done, Engine};
use crate::image::Image;
use crate::task::{Call, Task};

/// What becomes of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Do,
    /// It is said to have come no further than so many bytes.
    Short(u32),
    /// It fails with this errno, and nothing is done.
    Fail(i32),
}

/// A task that the engine was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What was to be done.
    pub call: Call,
    /// Where, in bytes.
    pub offset: u64,
    /// How much, in bytes.
    pub len: u64,
    /// Through the page cache, of an image that is otherwise opened for direct I/O.
    pub cached: bool,
    /// Of what is so many below the image.
    pub below: usize,
}

/// What has happened and what is to happen.
#[derive(Default)]
struct Scene {
    answers: VecDeque<Answer>,
    holds: bool,
    held: VecDeque<(usize, Box<Task>)>,
    log: Vec<Asked>,
    done: Vec<Vec<Done>>,
}

/// The test's end of all lanes of a disk.
#[derive(Clone)]
pub struct Stage {
    scene: Arc<Mutex<Scene>>,
    bells: Arc<Vec<Arc<EventFd>>>,
    image: Arc<Mutex<Arc<Image>>>,
}

/// One lane's end.
pub struct Script {
    lane: usize,
    fresh: Vec<Box<Task>>,
    stage: Stage,
}

/// Engines for `lanes` lanes on `image`, and the test's end of them.
pub fn stage(image: Arc<Image>, lanes: u16) -> (Vec<Script>, Stage) {
    let bells =
        (0..lanes).map(|_| Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).unwrap())).collect();
    let done = (0..lanes).map(|_| Vec::new()).collect();
    let scene = Scene { done, ..Scene::default() };
    let stage = Stage {
        scene: Arc::new(Mutex::new(scene)),
        bells: Arc::new(bells),
        image: Arc::new(Mutex::new(image)),
    };
    let script = |lane| Script { lane, fresh: Vec::new(), stage: stage.clone() };
    ((0..usize::from(lanes)).map(script).collect(), stage)
}

impl Stage {
    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap()
    }

    fn image(&self) -> Arc<Image> {
        self.image.lock().unwrap().clone()
    }

    /// What becomes of the next tasks, in the order in which they are let go; of further ones, that they are
    /// done.
    pub fn answer(&self, answers: &[Answer]) {
        self.scene().answers.extend(answers);
    }

    /// All further tasks are done, whatever was to become of them.
    pub fn forget_answers(&self) {
        self.scene().answers.clear();
    }

    /// Tasks are held from now on.
    pub fn hold(&self) {
        self.scene().holds = true;
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        self.scene().held.len()
    }

    /// Lets the task go that is number `nth` of those held, oldest first. Panics if there is none.
    pub fn release(&self, nth: usize) {
        let (lane, task) = self.scene().held.remove(nth).expect("a task that is held");
        self.end(lane, task);
    }

    /// Lets all go, and holds none any more.
    pub fn release_all(&self) {
        self.scene().holds = false;
        while self.held() > 0 {
            self.release(0);
        }
    }

    /// What the engine was given since this was asked last.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.scene().log)
    }

    /// What is in the image.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.image().through_cache().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    /// Changes what is in the image.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.image().through_cache().write_all_at(bytes, offset).unwrap();
    }

    /// Makes the image's file longer or shorter.
    pub fn set_len(&self, bytes: u64) {
        self.image().file().set_len(bytes).unwrap();
    }

    fn start(&self, lane: usize, task: Box<Task>) {
        let mut scene = self.scene();
        scene.log.push(Asked {
            call: task.call(),
            offset: task.offset(),
            len: task.len(),
            cached: task.is_cached(),
            below: task.place().below(),
        });
        if scene.holds {
            scene.held.push_back((lane, task));
            return;
        }
        drop(scene);
        self.end(lane, task);
    }

    fn end(&self, lane: usize, task: Box<Task>) {
        let answer = self.scene().answers.pop_front().unwrap_or(Answer::Do);
        let result = match answer {
            Answer::Do => carry_out(&task, &self.image()),
            Answer::Short(bytes) => carry_out(&task, &self.image()).min(bytes as i32),
            Answer::Fail(errno) => -errno,
        };
        self.scene().done[lane].push((task, result));
        self.bells[lane].write(1).unwrap();
    }
}

impl Engine for Script {
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn start(&mut self, task: Box<Task>) {
        self.fresh.push(task);
    }

    fn submit(&mut self) -> bool {
        for task in self.fresh.drain(..) {
            self.stage.start(self.lane, task);
        }
        true
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        done.append(&mut self.stage.scene().done[self.lane]);
    }

    fn watches(&self) -> Vec<BorrowedFd<'_>> {
        vec![borrow(&self.stage.bells[self.lane])]
    }

    fn bell(&self) -> Arc<EventFd> {
        self.stage.bells[self.lane].clone()
    }

    fn replace(&mut self, image: Arc<Image>) -> io::Result<()> {
        *self.stage.image.lock().unwrap() = image;
        Ok(())
    }
}
