//! The header of a packet (virtio 1.2, 5.10.6), little-endian: copied once, and private from then on.

/// Bytes of a header.
pub const HEADER_LEN: usize = 44;
/// The host's address (virtio 1.2, 5.10.4).
pub const HOST_CID: u64 = 2;
/// The only type of socket here (virtio 1.2, 5.10.6.3).
pub const STREAM: u16 = 1;
/// VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE: who says so receives no more (virtio 1.2, 5.10.6.6).
pub const SHUT_RECEIVE: u32 = 1;
/// VIRTIO_VSOCK_SHUTDOWN_F_SEND: who says so sends no more.
pub const SHUT_SEND: u32 = 2;

/// What a packet is for (virtio 1.2, 5.10.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Asks for a connection.
    Request = 1,
    /// Accepts one.
    Response = 2,
    /// Refuses one, or ends it at once.
    Reset = 3,
    /// Ends one or both of its directions.
    Shutdown = 4,
    /// Carries bytes.
    Data = 5,
    /// Tells how much room there is.
    CreditUpdate = 6,
    /// Asks for that.
    CreditRequest = 7,
}

impl Op {
    /// Of the field `op`; `None` for what there is not.
    pub fn of(op: u16) -> Option<Op> {
        let all = [
            Op::Request,
            Op::Response,
            Op::Reset,
            Op::Shutdown,
            Op::Data,
            Op::CreditUpdate,
            Op::CreditRequest,
        ];
        all.into_iter().find(|known| *known as u16 == op)
    }
}

/// A header, as it was or will be in guest memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Address of the sender.
    pub src_cid: u64,
    /// Address of the receiver.
    pub dst_cid: u64,
    /// Port of the sender.
    pub src_port: u32,
    /// Port of the receiver.
    pub dst_port: u32,
    /// Bytes behind the header.
    pub len: u32,
    /// Type of the socket.
    pub kind: u16,
    /// What it is for.
    pub op: u16,
    /// Of a shutdown: which directions.
    pub flags: u32,
    /// Bytes that the sender can hold of this connection.
    pub buf_alloc: u32,
    /// Bytes of this connection that the sender has passed on, wrapping.
    pub fwd_cnt: u32,
}

impl Header {
    /// Reads it.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Header {
        let mut fields = Fields(bytes);
        Header {
            src_cid: u64::from_le_bytes(fields.next()),
            dst_cid: u64::from_le_bytes(fields.next()),
            src_port: u32::from_le_bytes(fields.next()),
            dst_port: u32::from_le_bytes(fields.next()),
            len: u32::from_le_bytes(fields.next()),
            kind: u16::from_le_bytes(fields.next()),
            op: u16::from_le_bytes(fields.next()),
            flags: u32::from_le_bytes(fields.next()),
            buf_alloc: u32::from_le_bytes(fields.next()),
            fwd_cnt: u32::from_le_bytes(fields.next()),
        }
    }

    /// As it goes into memory.
    pub fn bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut rest: &mut [u8] = &mut bytes;
        put(&mut rest, self.src_cid.to_le_bytes());
        put(&mut rest, self.dst_cid.to_le_bytes());
        put(&mut rest, self.src_port.to_le_bytes());
        put(&mut rest, self.dst_port.to_le_bytes());
        put(&mut rest, self.len.to_le_bytes());
        put(&mut rest, self.kind.to_le_bytes());
        put(&mut rest, self.op.to_le_bytes());
        put(&mut rest, self.flags.to_le_bytes());
        put(&mut rest, self.buf_alloc.to_le_bytes());
        put(&mut rest, self.fwd_cnt.to_le_bytes());
        bytes
    }

    /// The reset that answers it: to where it came from, from where it went.
    pub fn reset(&self) -> Header {
        Header {
            src_cid: self.dst_cid,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            kind: self.kind,
            op: Op::Reset as u16,
            ..Header::default()
        }
    }
}

/// What is left of a header's bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next field; zeroes past the end, where there is none.
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *field
    }
}

fn put<const N: usize>(rest: &mut &mut [u8], field: [u8; N]) {
    if let Some((place, behind)) = std::mem::take(rest).split_first_chunk_mut() {
        *place = field;
        *rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_lies_where_the_specification_has_it() {
        let header = Header {
            src_cid: 0x0102_0304_0506_0708,
            dst_cid: 0x1112_1314_1516_1718,
            src_port: 0x2122_2324,
            dst_port: 0x3132_3334,
            len: 0x4142_4344,
            kind: 0x5152,
            op: 0x6162,
            flags: 0x7172_7374,
            buf_alloc: 0x8182_8384,
            fwd_cnt: 0x9192_9394,
        };
        let bytes = header.bytes();
        let at = |from: usize, len: usize| {
            bytes[from..from + len]
                .iter()
                .rev()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let fields =
            [(0, 8), (8, 8), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 4), (36, 4)];
        let texts: Vec<_> = fields.into_iter().map(|(from, len)| at(from, len)).collect();
        assert_eq!(texts[..4], ["0102030405060708", "1112131415161718", "21222324", "31323334"]);
        assert_eq!(texts[4..], ["41424344", "5152", "6162", "71727374", "81828384"]);
        assert_eq!(at(40, 4), "91929394");
        assert_eq!(Header::parse(&bytes), header);
    }

    #[test]
    fn operations_are_1_to_7() {
        let known: Vec<u16> = (0..u16::MAX).filter(|op| Op::of(*op).is_some()).collect();
        assert_eq!(known, [1, 2, 3, 4, 5, 6, 7]);
    }
}
