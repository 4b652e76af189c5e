//! Addresses, ranges of them, and origins of URLs: values and rules. Nothing here opens a connection.

mod addresses;
mod cidr;
mod origin;

pub use addresses::{Reach, Refused, is_loopback};
pub use cidr::{Cidr, CidrError};
pub use origin::Origin;
