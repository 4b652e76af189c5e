#![allow(clippy::unwrap_used, reason = "a failed expectation is how a test reports")]

use super::schema::{Cel, crd};
#[test]
fn show() {
    println!("{}", serde_json::to_string_pretty(&crd(Cel::Known)).unwrap());
}
