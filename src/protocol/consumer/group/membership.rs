//! The members of a group, and which slots each of them has.
//!
//! There is no coordinator. Each member announces itself to the others with MEMBERs: in an interval, and when something
//! has changed. A member that is silent for a time counts as dead. From the addresses of the live members, each member
//! computes to whom each slot is assigned. It begins to handle a slot when all others agree: they know the same members,
//! and none of them still holds the slot. So two members that reach each other never handle one slot at the same time.

use crate::protocol::Outbox;
use crate::slots::{SLOT_COUNT, Slots, hash};
use crate::wire::Message;
use std::collections::BTreeMap;

/// The most other members that are known. More members than slots have nothing to do.
const MAX_MEMBERS: usize = 255;
/// Announcements because of changes are at least this far apart.
const MIN_INTERVAL_MS: u64 = 20;

/// When members announce themselves, and when they count as dead.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The time between two announcements without a change.
    pub interval_ms: u64,
    /// A member that is silent for this time counts as dead.
    pub timeout_ms: u64,
    /// How long a new member listens before it begins.
    pub listen_ms: u64,
    /// A member begins to handle a slot without the consent of the others after this time.
    pub handover_ms: u64,
}

/// What is known about another member.
struct Member {
    heard_ms: u64,
    /// See [`Message::Member`].
    view: u64,
    held: Slots,
    is_listening: bool,
}

/// The state.
pub(super) struct Membership {
    /// The topic of MEMBERs.
    group_name: Box<[u8]>,
    address: Box<[u8]>,
    timing: Timing,
    others: BTreeMap<Box<[u8]>, Member>,
    /// The slots that are assigned to this member, if all known members are alive.
    assigned: Slots,
    /// The slots that are assigned to members that only listen. The member that holds such a slot keeps it until then.
    reserved: Slots,
    /// The slots for which this member has the highest hash of all members that it knows.
    highest: Slots,
    /// Those of them that are assigned to others, and that this member handles nevertheless, because nobody else did for
    /// a time. This happens when the members do not know the same members.
    adopted: Slots,
    /// Since when nobody holds each slot, as far as this member knows; `u64::MAX` if somebody does.
    orphaned_ms: [u64; SLOT_COUNT as usize],
    /// Since when each slot is assigned to this member.
    assigned_ms: [u64; SLOT_COUNT as usize],
    /// A hash of the addresses of all known members.
    view: u64,
    /// The slots that this member holds.
    held: Slots,
    /// When this member has listened long enough.
    begin_ms: u64,
    /// When it next announces itself, and when it did so last.
    send_ms: u64,
    sent_ms: u64,
    /// When [`Membership::handle_timeout`] was called last.
    called_ms: u64,
    /// The members have changed since the slots were assigned.
    is_outdated: bool,
    /// The number of members changed, and this was not reported yet.
    has_changed: bool,
}

impl Membership {
    pub(super) fn new(group_name: &[u8], address: &[u8], timing: Timing, now_ms: u64) -> Membership {
        let mut membership = Membership {
            group_name: group_name.into(),
            address: address.into(),
            timing,
            others: BTreeMap::new(),
            assigned: Slots::NONE,
            reserved: Slots::NONE,
            highest: Slots::NONE,
            adopted: Slots::NONE,
            orphaned_ms: [u64::MAX; SLOT_COUNT as usize],
            assigned_ms: [now_ms; SLOT_COUNT as usize],
            view: 0,
            held: Slots::NONE,
            begin_ms: now_ms + timing.listen_ms,
            send_ms: now_ms,
            sent_ms: now_ms,
            called_ms: now_ms,
            is_outdated: false,
            has_changed: false,
        };
        membership.assign(now_ms);
        membership
    }

    /// Handles a MEMBER. [`Membership::handle_timeout`] must be called afterwards.
    pub(super) fn handle_member(
        &mut self,
        address: &[u8],
        (view, held): (u64, Slots),
        (is_leaving, is_listening): (bool, bool),
        now_ms: u64,
    ) {
        if *address == *self.address || address.is_empty() {
            return;
        }
        let member = Member { heard_ms: now_ms, view, held, is_listening };
        let is_changed = if is_leaving {
            self.others.remove(address).is_some()
        } else if let Some(known) = self.others.get_mut(address) {
            let was_listening = std::mem::replace(known, member).is_listening;
            was_listening != is_listening
        } else if self.others.len() < MAX_MEMBERS {
            self.others.insert(address.into(), member);
            true
        } else {
            false
        };
        self.is_outdated |= is_changed;
    }

    /// Another member listens from now on.
    pub(super) fn handle_listener(&mut self, now_ms: u64) {
        self.announce_soon(now_ms);
    }

    /// The members have changed.
    fn assign(&mut self, now_ms: u64) {
        let others = self.others.iter().map(|(address, member)| (&**address, member.is_listening));
        let members: Vec<(&[u8], bool)> = others.chain([(&*self.address, false)]).collect();
        let addresses: Vec<&[u8]> = members.iter().map(|(address, _)| *address).collect();
        let view = addresses.iter().fold(0, |view: u64, address| view.wrapping_add(hash(&[address])));
        let (mut assigned, mut reserved) = (Slots::NONE, Slots::NONE);
        for (slot, member) in (0..SLOT_COUNT).zip(assignees(&addresses)) {
            if member == members.len() - 1 {
                assigned = assigned.and(Slots::of(slot));
            } else if members[member].1 {
                reserved = reserved.and(Slots::of(slot));
            }
        }
        for slot in assigned.without(self.assigned).iter() {
            self.assigned_ms[usize::from(slot)] = now_ms;
        }
        if view != self.view {
            self.has_changed = true;
            self.announce_soon(now_ms);
        }
        (self.view, self.assigned, self.reserved) = (view, assigned, reserved);
        self.highest = (0..SLOT_COUNT)
            .filter(|&slot| {
                let own = rank(&self.address, slot);
                self.others.keys().all(|other| rank(other, slot) < own)
            })
            .fold(Slots::NONE, |highest, slot| highest.and(Slots::of(slot)));
    }

    /// Adopts slots that nobody holds although the members have had the time to agree. If the members do not know the
    /// same members, they may assign a slot to each other. But one of them has the highest hash of all.
    fn adopt(&mut self, now_ms: u64) {
        let do_agree = self.others.values().all(|member| member.view == self.view);
        if do_agree {
            self.adopted = Slots::NONE;
        }
        let held = self.others.values().fold(self.held, |held, member| held.and(member.held));
        for slot in 0..SLOT_COUNT {
            let since_ms = &mut self.orphaned_ms[usize::from(slot)];
            if do_agree || held.contains(slot) || !self.highest.contains(slot) {
                *since_ms = u64::MAX;
            } else {
                *since_ms = now_ms.min(*since_ms);
                if now_ms >= since_ms.saturating_add(self.timing.handover_ms) {
                    self.adopted = self.adopted.and(Slots::of(slot));
                }
            }
        }
    }

    fn announce_soon(&mut self, now_ms: u64) {
        self.send_ms = self.send_ms.min(now_ms.max(self.sent_ms + MIN_INTERVAL_MS));
    }

    /// The slots that this member should handle as soon as it may.
    pub(super) fn wanted(&self, now_ms: u64) -> Slots {
        if self.is_listening(now_ms) { Slots::NONE } else { self.assigned.and(self.adopted) }
    }

    /// The slots that this member should keep if it handles them.
    pub(super) fn kept(&self, now_ms: u64) -> Slots {
        if self.is_listening(now_ms) {
            Slots::NONE
        } else {
            self.assigned.and(self.reserved).and(self.adopted)
        }
    }

    /// Whether this member is new, and only listens.
    pub(super) fn is_listening(&self, now_ms: u64) -> bool {
        now_ms < self.begin_ms
    }

    /// Whether this member may begin to handle a slot that it wants.
    pub(super) fn may_begin(&self, slot: u8, now_ms: u64) -> bool {
        let is_free = |member: &Member| member.view == self.view && !member.held.contains(slot);
        let waits_since_ms = self.assigned_ms[usize::from(slot)].max(self.begin_ms);
        let is_late = now_ms >= waits_since_ms + self.timing.handover_ms;
        is_late || self.adopted.contains(slot) || self.others.values().all(is_free)
    }

    /// From now on, this member holds these slots.
    pub(super) fn hold(&mut self, held: Slots, now_ms: u64) {
        if held != self.held {
            self.held = held;
            self.announce_soon(now_ms);
        }
    }

    /// The number of live members, including this one, and the slots of this one, if the members have changed.
    pub(super) fn poll_change(&mut self, now_ms: u64) -> Option<(usize, u32)> {
        let is_due = self.has_changed && now_ms >= self.begin_ms;
        is_due.then(|| {
            self.has_changed = false;
            (self.others.len() + 1, self.assigned.count())
        })
    }

    /// When [`Membership::handle_timeout`] must be called next. Whether a slot may begin depends only on messages and on
    /// the time that this function returns.
    pub(super) fn due_ms(&self) -> u64 {
        let begin_ms = if self.begin_ms > self.called_ms { self.begin_ms } else { u64::MAX };
        let handover_ms = self
            .assigned
            .without(self.held)
            .iter()
            .map(|slot| self.assigned_ms[usize::from(slot)].max(self.begin_ms) + self.timing.handover_ms);
        let silent_ms = self.others.values().map(|member| member.heard_ms + self.timing.timeout_ms);
        handover_ms.chain(silent_ms).fold(self.send_ms.min(begin_ms), u64::min)
    }

    /// Removes silent members, and announces this member. Returns false when this call comes so late that the others may
    /// take this member for dead: then it must stop handling its slots, and listens again as a new member does.
    pub(super) fn handle_timeout<P>(&mut self, now_ms: u64, out: &mut Outbox<P>) -> bool {
        if self.is_listening(self.called_ms) && !self.is_listening(now_ms) {
            self.announce_soon(now_ms);
        }
        self.called_ms = now_ms;
        let is_alive = now_ms < self.sent_ms + self.timing.timeout_ms;
        if !is_alive {
            // The messages of the others may wait unread.
            self.others.values_mut().for_each(|member| member.heard_ms = now_ms);
            self.begin_ms = now_ms + self.timing.listen_ms;
        }
        let (known_count, timeout_ms) = (self.others.len(), self.timing.timeout_ms);
        self.others.retain(|_, member| now_ms < member.heard_ms + timeout_ms);
        if self.others.len() < known_count || std::mem::take(&mut self.is_outdated) {
            self.assign(now_ms);
        }
        self.adopt(now_ms);
        if now_ms >= self.send_ms {
            (self.sent_ms, self.send_ms) = (now_ms, now_ms + self.timing.interval_ms);
            self.announce(false, out);
        }
        is_alive
    }

    /// Announces this member, or that it leaves.
    pub(super) fn announce<P>(&self, is_leaving: bool, out: &mut Outbox<P>) {
        out.message(&Message::Member {
            topic: &self.group_name,
            address: &self.address,
            view: self.view,
            held: self.held.0,
            is_leaving,
            is_listening: self.is_listening(self.called_ms),
        });
    }
}

/// The rank of a member for a slot.
fn rank(member: &[u8], slot: u8) -> (u64, &[u8]) {
    (hash(&[member, &[slot]]), member)
}

/// For each slot, the index of the member to which it is assigned. Rendezvous hashing: each slot goes to the member with
/// the highest hash of member and slot. So a slot moves only when its member leaves, or when a new member gets it. But no
/// member gets more than its part, rounded up: the slot then goes to the member with the next hash.
fn assignees(members: &[&[u8]]) -> Vec<usize> {
    let most = usize::from(SLOT_COUNT).div_ceil(members.len());
    let mut counts = vec![0; members.len()];
    let assignee = |slot: u8| {
        let open = (0..members.len()).filter(|&member| counts[member] < most);
        let first = open.max_by_key(|&member| rank(members[member], slot));
        let member = first.expect("the members have room for all slots");
        counts[member] += 1;
        member
    };
    (0..SLOT_COUNT).map(assignee).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_all(members: &[&[u8]]) -> Vec<Slots> {
        let mut all = vec![Slots::NONE; members.len()];
        for (slot, member) in (0..SLOT_COUNT).zip(assignees(members)) {
            all[member] = all[member].and(Slots::of(slot));
        }
        all
    }

    #[test]
    fn each_slot_has_one_member_and_members_have_equal_parts() {
        let names: Vec<String> = (0..70).map(|number| format!("member {number}")).collect();
        for count in 1..=names.len() {
            let members: Vec<&[u8]> = names[..count].iter().map(|name| name.as_bytes()).collect();
            let all = of_all(&members);
            assert_eq!(all.iter().map(|slots| slots.count()).sum::<u32>(), u32::from(SLOT_COUNT));
            assert_eq!(all.iter().fold(Slots::NONE, |sum, slots| sum.and(*slots)), Slots::ALL);
            let most = all.iter().map(|slots| slots.count()).max();
            assert_eq!(most, Some(u32::from(SLOT_COUNT).div_ceil(count as u32)), "{count} members");
        }
    }

    #[test]
    fn few_slots_move_when_a_member_joins() {
        let members: Vec<&[u8]> = vec![b"a", b"b", b"c", b"d", b"e"];
        let (before, after) = (of_all(&members[..4]), of_all(&members));
        let moved = before.iter().zip(&after).map(|(before, after)| before.without(*after).count());
        // The new member gets 12 or 13 slots. With a simple division, more than half of all slots would move.
        assert!(moved.clone().sum::<u32>() <= 24, "{:?}", moved.collect::<Vec<_>>());
    }
}
