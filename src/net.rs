//! Addresses and ranges of them: values and rules. Nothing here opens a connection.

mod addresses;
mod cidr;

pub use addresses::{NotAdmitted, Reach, is_loopback};
pub use cidr::{Cidr, CidrError};
