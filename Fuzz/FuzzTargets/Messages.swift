import Bytes
import NetTypes
import STUN
import SignalingMessages
import TURN
import TURNServer

/// The password of RFC 5769 §2.1, so that its messages are good seeds.
private let key: IntegrityKey = {
    guard let key = try? IntegrityKey(shortTermPassword: "VOkJxbRl1RmTxUk/WvJxBt") else { fatalError("a bad password") }
    return key
}()

private let nonces: NonceFactory = {
    guard let nonces = try? NonceFactory(secret: Array(repeating: 1, count: 16), features: [.passwordAlgorithms]) else {
        fatalError("a bad secret")
    }
    return nonces
}()

func runSTUN(_ input: Span<UInt8>) -> Bool {
    let result = exerciseSTUNDecoder(input, key: key, nonces: nonces)
    precondition(result != .inconsistent, "a message is not read the same way twice")
    return result == .consistent
}

private let tokenKey: AccessTokenKey = {
    guard let key = try? AccessTokenKey(id: "north", key: Array(repeating: 1, count: 32)) else {
        fatalError("a bad key")
    }
    return key
}()

func runAccessToken(_ input: Span<UInt8>) -> Bool {
    let result = exerciseAccessToken(input, key: tokenKey)
    precondition(result != .inconsistent, "a token is not read as it was written, or one was forged")
    return result == .consistent
}

func runTURN(_ input: Span<UInt8>) -> Bool {
    let result = exerciseTURNDecoder(input)
    precondition(result != .inconsistent, "a frame or a payload outside of its bytes")
    return result == .consistent || (try? ChannelData(input)) != nil || RESTUsername(input) != nil
}

func runTURNServer(_ input: Span<UInt8>) -> Bool {
    guard var exercise = try? TURNServerExercise(seed: 1) else { fatalError("a bad configuration") }
    exercise.run(input)
    let created = exercise.allocationsCreated
    exercise.finish()
    return created > 0
}

func runSignalingMessages(_ input: Span<UInt8>) -> Bool {
    let text = String(decoding: input.toArray(), as: UTF8.self)
    _ = ClientFrame.sequence(in: text)
    var isMessage = false
    if let frame = try? ClientFrame(decoding: text) {
        isMessage = true
        let again = try? ClientFrame(decoding: frame.text)
        precondition(again == frame, "a client's message is not read as it was written")
    }
    if let frame = try? ServerFrame(decoding: text) {
        isMessage = true
        let again = try? ServerFrame(decoding: frame.text)
        precondition(again == frame, "a server's message is not read as it was written")
    }
    return isMessage
}
