//! Log-in with an access token: OAUTHBEARER (RFC 7628) and its forerunner XOAUTH2, which Microsoft has alone.
//!
//! Both say everything in one message. A server that refuses the token may first explain itself in a challenge, which has to be
//! answered before it says no (RFC 7628 §3.2.3).

use secrecy::{ExposeSecret, SecretString};

/// The two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 7628
    OAuthBearer,
    /// <https://developers.google.com/workspace/gmail/imap/xoauth2-protocol>
    XOAuth2,
}

impl Form {
    /// The one message. Host and port may be left out for bearer tokens (RFC 7628 §3.1), and servers ignore them.
    pub(super) fn message(self, user: &str, token: &SecretString) -> Vec<u8> {
        let token = token.expose_secret();
        match self {
            Self::OAuthBearer => format!("n,a={},\x01auth=Bearer {token}\x01\x01", escaped(user)).into_bytes(),
            Self::XOAuth2 => format!("user={user}\x01auth=Bearer {token}\x01\x01").into_bytes(),
        }
    }

    /// What lets the server go on to its refusal, after it has explained itself.
    pub(super) fn acknowledgement(self) -> Vec<u8> {
        match self {
            Self::OAuthBearer => vec![1],
            Self::XOAuth2 => Vec::new(),
        }
    }
}

/// `saslname` (RFC 5801 §4).
fn escaped(user: &str) -> String {
    user.replace('=', "=3D").replace(',', "=2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages() {
        let token = SecretString::from("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        let bearer = b"n,a=user@example.com,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        assert_eq!(Form::OAuthBearer.message("user@example.com", &token), bearer);
        let google = b"user=user@example.com\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        assert_eq!(Form::XOAuth2.message("user@example.com", &token), google);
        assert!(Form::OAuthBearer.message("a,b=c", &token).starts_with(b"n,a=a=2Cb=3Dc,\x01"));
    }
}
