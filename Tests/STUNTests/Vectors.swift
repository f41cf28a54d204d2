import Bytes

/// The messages of RFC 5769 §2 and of RFC 8489 Appendix B.1.
enum Vectors {
    static let shortTermPassword = "VOkJxbRl1RmTxUk/WvJxBt"
    static let longTermUsername = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}"
    static let longTermPassword = "TheMatrIX"
    static let realm = "example.org"

    static let request = bytes(
        """
        00010058 2112a442 b7e7a701bc34d686fa87dfae 80220010 5354554e207465737420636c69656e74
        00240004 6e0001ff 80290008 932ff9b151263b36 00060009 6576746a3a68367659202020
        00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004 e57a3bcf
        """
    )

    static let ipv4Response = bytes(
        """
        0101003c 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220
        00200008 0001a147e112a643 00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004 c07d4c96
        """
    )

    static let ipv6Response = bytes(
        """
        01010048 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220
        00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9
        00080014 a382954e4be67bf11784c97c8292c275bfe3ed41 80280004 c8fb0b4c
        """
    )

    static let longTermRequest = bytes(
        """
        00010060 2112a442 78ad3433c6ad72c029da412e 00060012 e3839ee38388e383aae38383e382afe382b90000
        0015001c 662f2f3439396b39353464364f4c33346f4c39465354767936347341 0014000b 6578616d706c652e6f726700
        00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666
        """
    )

    /// As printed, with a length of 0x9c that counts the header too, and an HMAC made under that length.
    static let userhashRequestAsPrinted = bytes(
        """
        0001009c 2112a442 78ad3433c6ad72c029da412e
        001e0020 4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704
        00150029 6f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c39465354767936347341000000
        0014000b 6578616d706c652e6f726700
        001c0020 e4686c8f0edeb59013e07090010a93efccbccc544c0a45d9f830aa6d6f735a01
        """
    )

    /// The same with the length that RFC 8489 §5 demands; the HMAC was computed by another program.
    static let userhashRequest =
        bytes("00010088") + userhashRequestAsPrinted[4..<124]
        + bytes("234112fbd4e27f983eb4032836f998216f5b23f8d927753fbc4f882bfbdf0dec")

    static func bytes(_ hex: String) -> [UInt8] {
        Hex.decode(hex.filter { !$0.isWhitespace }) ?? []
    }
}
