import Bytes
public import NetTypes

/// A capture in the format that tcpdump and Wireshark read: raw IP packets with times in nanoseconds.
public struct PcapFile: Sendable {
    /// The file's bytes so far; complete after each packet.
    public private(set) var bytes: [UInt8]
    /// How many packets it holds.
    public private(set) var packetCount = 0

    /// Makes a file without packets.
    public init() {
        bytes = buildBytes(capacity: 24) { output in
            output.append(bigEndian: UInt32(0xA1B2_3C4D))  // nanoseconds, big-endian
            output.append(bigEndian: UInt32(2 << 16 | 4))
            output.append(bigEndian: UInt64(0))
            output.append(bigEndian: UInt32(262_144))
            output.append(bigEndian: UInt32(101))  // LINKTYPE_RAW
        }
    }

    /// Adds a packet.
    public mutating func append(_ packet: Packet, at time: Instant) {
        let packet = packet.wireBytes
        bytes += buildBytes(capacity: 16) { output in
            output.append(bigEndian: UInt32(truncatingIfNeeded: time.nanoseconds / 1_000_000_000))
            output.append(bigEndian: UInt32(time.nanoseconds % 1_000_000_000))
            output.append(bigEndian: UInt32(packet.count))
            output.append(bigEndian: UInt32(packet.count))
        }
        bytes += packet
        packetCount += 1
    }
}
