import Bytes
import NetTypes

/// Writes the messages of this module (RFC 6762 §18), without compression: they have one name, or few.
struct DNSWriter {
    /// What is said about a name of ours.
    enum Answer {
        /// Its address, for so many seconds; 0 takes it back.
        case address(MDNSName, IPAddress, ttlSeconds: UInt32)
        /// That it has an address of this family and nothing else (NSEC, RFC 6762 §6.1).
        case onlyFamily(MDNSName, AddressFamily, ttlSeconds: UInt32)
    }

    /// How long a message becomes at most; fits into an Ethernet frame.
    static let maximumByteCount = 1400
    /// How much room question and record of the longest name need.
    static let questionRoom = 64 + 7 + 4
    static let answerRoom = 2 * (64 + 7) + 10 + 16

    /// Asks for IPv4 and IPv6 addresses of each name; the caller keeps to `maximumByteCount`.
    static func query(_ names: [MDNSName], wantsUnicast: Bool) -> [UInt8] {
        buildBytes(capacity: DNSMessage.headerByteCount + names.count * 2 * questionRoom) { output in
            header(id: 0, flags: 0, questions: names.count * 2, answers: 0, additional: 0, &output)
            for name in names {
                for type in [DNSType.a, DNSType.aaaa] { question(name, type, wantsUnicast, &output) }
            }
        }
    }

    /// Answers; `legacy` is the query of a simple resolver, whose identifier and questions come back to it (§6.7).
    static func response(
        _ answers: [Answer],
        additional: [Answer] = [],
        legacy: (id: UInt16, questions: [DNSMessage.Question])? = nil
    ) -> [UInt8] {
        let questions = legacy?.questions ?? []
        let room = questions.count * questionRoom + (answers.count + additional.count) * answerRoom
        return buildBytes(capacity: DNSMessage.headerByteCount + room) { output in
            header(
                id: legacy?.id ?? 0,
                flags: 0x8400,
                questions: questions.count,
                answers: answers.count,
                additional: additional.count,
                &output
            )
            for asked in questions { question(asked.name, asked.type, false, &output) }
            for answer in answers { record(answer, isUnique: legacy == nil, &output) }
            for answer in additional { record(answer, isUnique: legacy == nil, &output) }
        }
    }

    private static func header(
        id: UInt16,
        flags: UInt16,
        questions: Int,
        answers: Int,
        additional: Int,
        _ output: inout OutputSpan<UInt8>
    ) {
        output.append(bigEndian: id)
        output.append(bigEndian: flags)
        output.append(bigEndian: UInt16(questions))
        output.append(bigEndian: UInt16(answers))
        output.append(bigEndian: 0 as UInt16)
        output.append(bigEndian: UInt16(additional))
    }

    private static func question(
        _ name: MDNSName,
        _ type: UInt16,
        _ wantsUnicast: Bool,
        _ output: inout OutputSpan<UInt8>
    ) {
        append(name, &output)
        output.append(bigEndian: type)
        output.append(bigEndian: wantsUnicast ? 0x8001 : 1 as UInt16)
    }

    private static func record(_ answer: Answer, isUnique: Bool, _ output: inout OutputSpan<UInt8>) {
        let dnsClass: UInt16 = isUnique ? 0x8001 : 1
        switch answer {
        case .address(let name, let ip, let ttl):
            append(name, &output)
            output.append(bigEndian: DNSType.of(ip.family))
            output.append(bigEndian: dnsClass)
            output.append(bigEndian: ttl)
            output.append(bigEndian: UInt16(ip.byteCount))
            ip.write(into: &output)
        case .onlyFamily(let name, let family, let ttl):
            append(name, &output)
            output.append(bigEndian: DNSType.nsec)
            output.append(bigEndian: dnsClass)
            output.append(bigEndian: ttl)
            let bitmap: [UInt8] = family == .ipv4 ? [0x40] : [0, 0, 0, 0x08]
            output.append(bigEndian: UInt16(name.label.utf8.count + 8 + 2 + bitmap.count))
            append(name, &output)
            output.append(0)
            output.append(UInt8(bitmap.count))
            for byte in bitmap { output.append(byte) }
        }
    }

    private static func append(_ name: MDNSName, _ output: inout OutputSpan<UInt8>) {
        output.append(UInt8(name.label.utf8.count))
        for byte in name.label.utf8 { output.append(byte) }
        output.append(5)
        for byte in "local".utf8 { output.append(byte) }
        output.append(0)
    }
}
