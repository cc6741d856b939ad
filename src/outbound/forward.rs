//! Mail that a mapping sends on to an outside address, whether it was fetched or handed in.
//!
//! It leaves with an identity of ours, since the writer's own would fail SPF and DMARC at the next server; who answers, answers the
//! writer. Bounces go to the owner of the entry or rule.

use crate::config::Current;
use crate::mapping::Forward;
use crate::message::trace::Hop;
use crate::outbound::look::Look;
use crate::store::queue::NewMail;

/// The queue's mail for a forward of the message with this header. `None`: its owner has no address outside to send as.
pub fn forwarded(current: &Current, forward: &Forward, header: &[u8], hop: Hop<'_>) -> Option<NewMail> {
    let mapping = &current.mapping;
    let identity = mapping.identities(&forward.owner).into_iter().next()?;
    let via = forward.address.as_ref().map_or_else(|| identity.address.to_string(), ToString::to_string);
    let look = Look { mapping, lan_domain: &current.config.office.lan_domain, identity: &identity, user: Some(&forward.owner), hop };
    Some(NewMail {
        owner: forward.owner.clone(),
        sender: Some(identity.address.clone()),
        recipients: vec![forward.to.clone()],
        header: Some(look.forwarded(header, &via)),
    })
}
