import Bytes
import NetTypes

/// The messages of NAT-PMP (RFC 6886 §3).
enum NATPMPMessage {
    static let mapUDP: UInt8 = 1
    static let mapTCP: UInt8 = 2

    struct Response: Hashable {
        let operation: UInt8
        let result: UInt16
        let epoch: UInt32
        /// The external address, in an answer to operation 0.
        let address: IPAddress?
        /// In an answer to operation 1 or 2.
        let mapping: Mapping?
    }

    struct Mapping: Hashable {
        let internalPort: UInt16
        let externalPort: UInt16
        let lifetimeSeconds: UInt32
    }

    static func operation(_ transport: MappedTransport) -> UInt8 { transport == .udp ? mapUDP : mapTCP }

    static let addressRequest: [UInt8] = [0, 0]

    static func mapRequest(_ operation: UInt8, _ mapping: Mapping) -> [UInt8] {
        buildBytes(capacity: 12) { output in
            output.append(0)
            output.append(operation)
            output.append(zeros: 2)
            output.append(bigEndian: mapping.internalPort)
            output.append(bigEndian: mapping.externalPort)
            output.append(bigEndian: mapping.lifetimeSeconds)
        }
    }

    static func readRequest(_ bytes: Span<UInt8>) -> (operation: UInt8, mapping: Mapping?)? {
        guard bytes.count >= 2, bytes[0] == 0, bytes[1] < 128 else { return nil }
        return (bytes[1], bytes.count >= 12 ? mapping(bytes, at: 4) : nil)
    }

    static func readResponse(_ bytes: Span<UInt8>) -> Response? {
        guard bytes.count >= 8, bytes[0] == 0, bytes[1] & 0x80 != 0 else { return nil }
        let operation = bytes[1] & 0x7F
        let result = bytes.bigEndianUInt16(at: 2)
        var address: IPAddress?
        var granted: Mapping?
        if result == 0 {
            switch operation {
            case 0:
                guard bytes.count >= 12 else { return nil }
                address = IPAddress(ipv4: bytes.bigEndianUInt32(at: 8))
            default:
                guard bytes.count >= 16 else { return nil }
                granted = mapping(bytes, at: 8)
            }
        }
        return Response(
            operation: operation,
            result: result,
            epoch: bytes.bigEndianUInt32(at: 4),
            address: address,
            mapping: granted
        )
    }

    static func response(_ response: Response) -> [UInt8] {
        buildBytes(capacity: 16) { output in
            output.append(0)
            output.append(0x80 | response.operation)
            output.append(bigEndian: response.result)
            output.append(bigEndian: response.epoch)
            if response.operation == 0 {
                output.append(bigEndian: response.address?.ipv4Bits ?? 0)
            } else {
                output.append(bigEndian: response.mapping?.internalPort ?? 0)
                output.append(bigEndian: response.mapping?.externalPort ?? 0)
                output.append(bigEndian: response.mapping?.lifetimeSeconds ?? 0)
            }
        }
    }

    private static func mapping(_ bytes: Span<UInt8>, at offset: Int) -> Mapping {
        Mapping(
            internalPort: bytes.bigEndianUInt16(at: offset),
            externalPort: bytes.bigEndianUInt16(at: offset + 2),
            lifetimeSeconds: bytes.bigEndianUInt32(at: offset + 4)
        )
    }
}
