//! The server over real sockets and real TLS: limits, rotation, drain. The reviewer is a scripted closure; what it would judge is
//! other tests' concern.

mod binary;
mod bodies;
mod connections;
mod drain;
mod rotation;
mod support;
