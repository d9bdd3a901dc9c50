//! Where a lab listens: port 0 of 127.0.0.1 for its own engine, or loopback
//! addresses with the real ports for everybody on this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use castle_core::{Entropy, Error, ErrorKind, OsEntropy, Pace, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// A claimed block is marked by a socket at its last address and this port.
const SENTINEL_PORT: u16 = 47_000;
/// Of 16,384 blocks. That many busy ones in a row mean that something else is
/// wrong.
const CLAIMS_MAX: usize = 64;
const BACKLOG: i32 = 1024;
/// Below this, ports are the administrator's on most machines.
const PRIVILEGED: u16 = 1024;
/// How much higher such a port is taken by everybody else.
const ABOVE: u16 = 8000;

/// A /24 of 127.64.0.0/10 that belongs to one lab while this lives.
///
/// Each server gets an address of its own there, with its real port: 8006 of a
/// hypervisor, 6443 of an API server, 50000 of a node, several times over.
#[derive(Debug)]
pub struct Block {
    base: [u8; 3],
    /// Bound for as long as the block is ours; other labs see it and go on.
    _sentinel: Socket,
}

impl Block {
    /// Claims a random free block.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] in virtual time: a paused lab runs hours ahead
    /// while a foreign client blinks. [`ErrorKind::AddressInUse`] if no block
    /// could be claimed, or where the loopback network has only one address.
    pub fn claim(pace: Pace) -> Result<Self> {
        if pace == Pace::Virtual {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a lab in virtual time opens no public port: it would run hours ahead while a client blinks",
            )
            .hint("serve it with `--pace 60x` or `--pace real`"));
        }
        let mut reason = None;
        for _ in 0..CLAIMS_MAX {
            let mut chosen = [0; 2];
            // Not from the lab's seed: two labs with one seed need two blocks.
            OsEntropy.fill(&mut chosen);
            let base = [127, 64 | (chosen[0] & 63), chosen[1]];
            match bind(SocketAddr::new(host(base, 254), SENTINEL_PORT), BACKLOG) {
                Ok(sentinel) => return Ok(Self { base, _sentinel: sentinel }),
                Err(error) => reason = Some(error),
            }
        }
        let error =
            Error::new(ErrorKind::AddressInUse, format!("no block of 127.64.0.0/10 is free ({CLAIMS_MAX} tried)"))
                .hint("a public lab needs Linux, where every address of 127.0.0.0/8 works without a setup");
        Err(match reason {
            Some(reason) => error.caused_by(reason),
            None => error,
        })
    }

    /// The block's address with this last number.
    #[must_use]
    pub fn address(&self, number: u8) -> IpAddr {
        host(self.base, number)
    }
}

/// Listens at an address, port 0 for any free port. A port that this user may not
/// open is taken 8000 higher: 443 is 8443 then.
///
/// # Errors
///
/// [`ErrorKind::AddressInUse`] with address and port if something else holds
/// them, also when it holds the port on all addresses.
pub fn listen(at: SocketAddr) -> Result<TcpListener> {
    let (bound, at) = bound_where_it_may(at, |at| bind(at, BACKLOG));
    let refused = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            Error::new(ErrorKind::AddressInUse, format!("port {} of {} is taken", at.port(), at.ip())).hint(format!(
                "find its holder with `ss -ltnp 'sport = :{}'`; it may listen on all addresses",
                at.port()
            ))
        } else {
            Error::new(ErrorKind::Unexpected, format!("the lab cannot listen at {at}"))
        }
        .caused_by(error)
    };
    let socket = bound.map_err(refused)?;
    socket.set_nonblocking(true).map_err(refused)?;
    TcpListener::from_std(socket.into()).map_err(refused)
}

/// A host that has lost its power, as its neighbours see it: nothing answers.
///
/// Closing the port would refuse connections, which says that the machine is up.
/// This listens and never accepts, with a queue that is already full, so the
/// next connection attempt gets no answer at all.
#[derive(Debug)]
pub struct SilentHost {
    socket: Socket,
    _queue: Vec<TcpStream>,
}

impl SilentHost {
    /// Falls silent at an address, port 0 for any free port.
    ///
    /// # Errors
    ///
    /// As [`listen`].
    pub async fn listen(at: SocketAddr) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::AddressInUse, format!("no silent host can stand at {at}")).caused_by(error)
        };
        let socket = bind(at, 1).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let silent = Self { socket, _queue: Vec::new() };
        let address = silent.address()?;
        // Linux completes one handshake more than the backlog says.
        let mut queue = Vec::new();
        for _ in 0..2 {
            queue.push(TcpStream::connect(address).await.map_err(failed)?);
        }
        Ok(Self { _queue: queue, ..silent })
    }

    /// Where it is silent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unexpected`] if the operating system does not know.
    pub fn address(&self) -> Result<SocketAddr> {
        let address = self.socket.local_addr().ok().and_then(|address| address.as_socket());
        address.ok_or_else(|| Error::new(ErrorKind::Unexpected, "a listening socket has no address"))
    }
}

/// Everybody outside uses this address for a lab that is not public.
#[must_use]
pub fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

fn host(base: [u8; 3], number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(base[0], base[1], base[2], number))
}

/// What `bind` makes, and where: at the administrator's ports, or above them if
/// those are refused.
fn bound_where_it_may<T>(
    at: SocketAddr,
    mut bind: impl FnMut(SocketAddr) -> std::io::Result<T>,
) -> (std::io::Result<T>, SocketAddr) {
    let higher = (1..PRIVILEGED).contains(&at.port()).then(|| SocketAddr::new(at.ip(), at.port() + ABOVE));
    match (bind(at), higher) {
        (Err(error), Some(higher)) if error.kind() == std::io::ErrorKind::PermissionDenied => (bind(higher), higher),
        (bound, _) => (bound, at),
    }
}

fn bind(at: SocketAddr, backlog: i32) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    // A lab that follows another at once finds its port in TIME_WAIT. On Linux
    // this does not let two sockets listen at one address.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(at))?;
    socket.listen(backlog)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use super::bound_where_it_may;

    #[test]
    fn a_port_that_a_user_may_not_open_is_taken_higher() {
        // What the operating system says to a user, with one port that somebody holds.
        const HELD: u16 = 8080;
        let bind = |at: SocketAddr| match at.port() {
            1..1024 => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            HELD => Err(io::Error::from(io::ErrorKind::AddrInUse)),
            port => Ok(port),
        };
        let check = |port: u16, expected: Result<u16, io::ErrorKind>, at: u16| {
            let asked = SocketAddr::from(([127, 64, 0, 9], port));
            let (bound, place) = bound_where_it_may(asked, bind);
            assert_eq!(bound.map_err(|error| error.kind()), expected, "{port}");
            assert_eq!(place, SocketAddr::from(([127, 64, 0, 9], at)), "{port}");
        };
        check(443, Ok(8443), 8443);
        check(1, Ok(8001), 8001);
        check(1023, Ok(9023), 9023);
        // From here on ports are anybody's; 0 is any free one.
        check(1024, Ok(1024), 1024);
        check(8006, Ok(8006), 8006);
        check(0, Ok(0), 0);
        // The refusal names the port that was tried last.
        check(80, Err(io::ErrorKind::AddrInUse), HELD);
        check(HELD, Err(io::ErrorKind::AddrInUse), HELD);
    }

    #[test]
    fn who_may_open_the_port_gets_it() {
        let mut tried = Vec::new();
        let at = SocketAddr::from(([127, 64, 0, 9], 443));
        let (bound, place) = bound_where_it_may(at, |at| {
            tried.push(at.port());
            Ok(at.port())
        });
        assert_eq!((bound.ok(), place, tried), (Some(443), at, vec![443]));
    }
}
