//! What an address may look like, and which addresses are on the same server.

use std::net::IpAddr;

use foretrace_report::text::escape;
use reqwest::Url;

/// Why nothing may be sent to an address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is no address.
    #[error("'{}' is no http or https address: correct [Upload] Url=", escape(.0))]
    Malformed(String),
    /// Anybody on the way could read it.
    #[error("'{}' is not encrypted: plain http is for this machine only, use https in [Upload] Url=", escape(.0))]
    Plain(String),
    /// It is on another server than the one that was agreed to.
    #[error("the server points to {}, which is not the server that was agreed to: nothing is sent there", escape(.0))]
    Elsewhere(String),
}

/// Checks an address without any look at the network.
///
/// # Errors
/// An address that nothing may be sent to.
pub fn check_address(url: &str) -> Result<(), AddressError> {
    Address::parse(url).map(drop)
}

/// Whether an address is on this machine, so that no network is needed for it.
pub fn is_near(url: &str) -> bool {
    Address::parse(url).is_ok_and(|address| address.near)
}

/// The address that `text` means on the page `base`: whole addresses stay as they are.
pub fn place(base: &str, text: &str) -> Option<String> {
    let base = Url::parse(base).ok()?;
    Some(base.join(text).ok()?.into())
}

/// An address that something may be sent to.
#[derive(Debug)]
pub struct Address {
    url: Url,
    near: bool,
}

impl Address {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let malformed = || AddressError::Malformed(text.to_owned());
        let mut url = Url::parse(text).map_err(|_| malformed())?;
        let host = url.host_str().ok_or_else(malformed)?;
        let number: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let near = host == "localhost" || number.is_some_and(|number| number.is_loopback());
        // Never sent: it is not for the server's eyes.
        url.set_fragment(None);
        match url.scheme() {
            "https" => Ok(Address { url, near }),
            "http" if near => Ok(Address { url, near }),
            "http" => Err(AddressError::Plain(text.to_owned())),
            _ => Err(malformed()),
        }
    }

    /// Reads an address that must be on the same server, port and scheme as `agreed`.
    pub fn within(text: &str, agreed: &str) -> Result<Address, AddressError> {
        let address = Address::parse(text)?;
        match address.url.origin() == Address::parse(agreed)?.url.origin() {
            true => Ok(address),
            false => Err(AddressError::Elsewhere(text.to_owned())),
        }
    }

    /// The address itself.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether it is on this machine.
    pub fn is_near(&self) -> bool {
        self.near
    }

    /// Whether it is spoken to in plain.
    pub fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// The server's name.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for url in [
            "https://crash.example.org/submit",
            "http://127.0.0.1:8080/submit",
            "http://127.9.9.9/",
            "http://[::1]:80/",
            "http://localhost:1/submit",
            "https://localhost/",
            "HTTP://LOCALHOST/",
        ] {
            assert_eq!(check_address(url), Ok(()), "{url}");
        }
        for url in [
            "http://crash.example.org/submit",
            "http://10.0.0.1/",
            "http://localhost.example.org/",
            "http://127.0.0.1@example.org/",
            "http://[::ffff:10.0.0.1]/",
            "http://0.0.0.0/",
        ] {
            assert_eq!(check_address(url), Err(AddressError::Plain(url.into())), "{url}");
        }
        for url in ["", "example.org", "ftp://127.0.0.1/", "file:///etc/passwd", "http://", "https://[::1"] {
            assert_eq!(check_address(url), Err(AddressError::Malformed(url.into())), "{url}");
        }
    }

    #[test]
    fn another_host_port_or_scheme_is_elsewhere() {
        let agreed = "https://crash.example.org/reports";
        for same in [
            "https://crash.example.org/x",
            "https://CRASH.example.org:443/",
            "https://key@crash.example.org/",
        ] {
            assert!(Address::within(same, agreed).is_ok(), "{same}");
        }
        for other in [
            "https://crash.example.org:444/",
            "https://example.org/",
            "https://crash.example.org@example.com/",
            "http://localhost/",
        ] {
            assert_eq!(Address::within(other, agreed).err(), Some(AddressError::Elsewhere(other.into())));
        }
        assert_eq!(place(agreed, "/reports/upload/1").unwrap(), "https://crash.example.org/reports/upload/1");
        assert_eq!(place(agreed, "//example.com/1").unwrap(), "https://example.com/1");
    }
}
