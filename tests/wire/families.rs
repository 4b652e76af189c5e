//! Names with addresses of both families, one of which is dead.

use crate::faulty::{Faulty, Reply};
use crate::support::*;
use pullgate::net::Reach;
use pullgate::registry::RegistrySettings;
use pullgate::runtime::request::*;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// An address that answers no SYN: its queue is full, and nobody takes anything out of it.
async fn dead(port: u16) -> std::io::Result<(TcpListener, Vec<TcpStream>)> {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let socket = TcpSocket::new_v6()?;
    socket.bind(address)?;
    let listener = socket.listen(1)?;
    let mut waiting = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(connected?);
    }
    Ok((listener, waiting))
}

#[tokio::test]
async fn a_dead_family_keeps_nobody_from_the_other() {
    let server = Faulty::start(|_| Reply::new(200)).await;
    let _dead = match dead(server.port()).await {
        Ok(dead) => dead,
        Err(error) => return println!("this machine has no IPv6: {error}"),
    };
    let (v6, v4) = (SocketAddr::from((Ipv6Addr::LOCALHOST, server.port())), server.address);
    for addresses in [[v6, v4], [v4, v6]] {
        let name = "dual.test".to_owned();
        let wire = wire_with(RegistrySettings {
            reach: Reach::Listed(vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]),
            resolve: addresses.map(|address| (name.clone(), address)).to_vec(),
            ..settings()
        });
        let origin = origin(&format!("http://{name}:{}", server.port()));
        let asked = request(Method::Head, &origin, "/v2/a/manifests/1", Want::Nothing);
        assert_eq!(response(&wire, &asked).await.status, 200, "{addresses:?}");
    }
}
