//! Connections that a proxy passes on, as HAProxy and stunnel do for devices whose TLS is too old for this server. The
//! PROXY protocol, version 1 or 2, names the device's address at their beginning.

use std::io;
use std::net::IpAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of either version; the shorter of the two headers has as many.
const FIRST_BYTES: usize = 12;
const SIGNATURE_V2: &[u8; FIRST_BYTES] = b"\r\n\r\n\0\r\nQUIT\n";
/// A header of version 2 up to its length.
const HEAD_BYTES_V2: usize = 16;
/// What a header of version 2 may have after that. Addresses take 36 bytes; the rest is about the connection.
const REST_BYTES_MAX: usize = 4096;
/// A header of version 1 may be this long.
const BYTES_MAX_V1: usize = 107;

/// Reads the header, and nothing after it. The address of the other end of the proxied connection; `None` when the proxy
/// does not name one, as in a health check: the connection counts as the proxy's own then.
///
/// # Errors
/// Those of the stream, and `InvalidData` for what is no header.
pub async fn source(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; FIRST_BYTES];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE_V2 {
        read_more(stream, &mut header, HEAD_BYTES_V2 - FIRST_BYTES).await?;
        let rest = header.last_chunk::<2>().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
        if rest > REST_BYTES_MAX {
            return Err(invalid());
        }
        read_more(stream, &mut header, rest).await?;
    } else {
        while !header.ends_with(b"\n") && header.len() < BYTES_MAX_V1 {
            read_more(stream, &mut header, 1).await?;
        }
    }
    match HeaderResult::parse(&header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => Ok(None),
        HeaderResult::V2(Ok(header)) => Ok(match header.addresses {
            v2::Addresses::IPv4(addresses) => Some(addresses.source_address.into()),
            v2::Addresses::IPv6(addresses) => Some(addresses.source_address.into()),
            v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(invalid()),
    }
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
    let before = header.len();
    header.resize(before + bytes, 0);
    stream.read_exact(&mut header[before..]).await.map(drop)
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no header of the PROXY protocol")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    async fn read(bytes: &[u8]) -> (io::Result<Option<IpAddr>>, Vec<u8>) {
        let mut stream = bytes;
        let source = source(&mut stream).await;
        (source, stream.to_vec())
    }

    #[tokio::test]
    async fn both_versions_and_nothing_after_them() {
        let addresses: [(SocketAddr, SocketAddr); 2] = [
            ("192.0.2.7:5000".parse().unwrap(), "192.0.2.1:8883".parse().unwrap()),
            ("[2001:db8::7]:5000".parse().unwrap(), "[2001:db8::1]:8883".parse().unwrap()),
        ];
        for pair in addresses {
            let one = v1::Addresses::from(pair).to_string().into_bytes();
            let two = v2::Builder::with_addresses(v2::Version::Two | v2::Command::Proxy, v2::Protocol::Stream, pair);
            let two = two.write_tlv(v2::Type::ALPN, b"mqtt").unwrap().build().unwrap();
            for header in [one, two] {
                let (source, rest) = read(&[&header[..], b"\x10CONNECT"].concat()).await;
                assert_eq!((source.unwrap(), rest.as_slice()), (Some(pair.0.ip()), &b"\x10CONNECT"[..]));
                for end in 0..header.len() {
                    assert!(read(&header[..end]).await.0.is_err(), "{end} of {header:?}");
                }
            }
        }
        let local = [&SIGNATURE_V2[..], &[0x20, 0, 0, 0]].concat();
        for header in [&b"PROXY UNKNOWN\r\n"[..], &local] {
            assert_eq!(read(header).await.0.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn what_is_no_header() {
        let long = [&SIGNATURE_V2[..], &[0x21, 0x11, 0xFF, 0xFF], &[0; 100][..]].concat();
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        let short = [&SIGNATURE_V2[..], &[0x21, 0x11, 0, 4, 1, 2, 3, 4]].concat();
        for bytes in [&b"\x10\x10\0\x04MQTT\x04\x02\0\x3C\0\0"[..], b"GET / HTTP/1.1\r\n\r\n", &long, &endless, &short]
        {
            assert!(read(bytes).await.0.is_err(), "{bytes:?}");
        }
    }
}
