//! The mails of a lane that wait for a connection: letters before mailings, but a mailing is never stopped by letters alone.

use super::Job;
use std::collections::VecDeque;

/// Of so many turns one is a mailing's while both wait.
const MAILING_EVERY: u32 = 10;

/// Two lines, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    letters: VecDeque<Job>,
    mailings: VecDeque<Job>,
    turns: u32,
}

impl Backlog {
    pub(super) fn push_back(&mut self, job: Job) {
        self.line(&job).push_back(job);
    }

    pub(super) fn push_front(&mut self, job: Job) {
        self.line(&job).push_front(job);
    }

    pub(super) fn pop(&mut self) -> Option<Job> {
        self.turns = self.turns.wrapping_add(1);
        let (first, second) = match self.turns.is_multiple_of(MAILING_EVERY) {
            true => (&mut self.mailings, &mut self.letters),
            false => (&mut self.letters, &mut self.mailings),
        };
        first.pop_front().or_else(|| second.pop_front())
    }

    pub(super) fn len(&self) -> usize {
        self.letters.len() + self.mailings.len()
    }

    pub(super) fn take_all(&mut self) -> Vec<Job> {
        self.letters.drain(..).chain(self.mailings.drain(..)).collect()
    }

    fn line(&mut self, job: &Job) -> &mut VecDeque<Job> {
        if job.lease.bulk { &mut self.mailings } else { &mut self.letters }
    }
}
