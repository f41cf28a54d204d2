import NetTypes
import Testing

@testable import Signaling
@testable import SignalingMessages

/// Clients that want the server for themselves.
@Suite("Hostile clients")
struct HostileClientTests {
    private static let mine = IPAddress(ipv4: 0xCB00_7107)
    private static let other = IPAddress(ipv4: 0xC633_6407)

    /// Opens a connection from a source, asks for a room and goes away; returns the codes of the errors.
    private func visit(_ world: inout World, _ connection: UInt64, from source: IPAddress?) -> [SignalingErrorCode] {
        world.engine.connectionOpened(connection, host: "example.org", source: source, at: world.now)
        world.say(.join(room: "room\(connection)", name: "Ada"), on: connection)
        let codes = world.take(connection).errorCodes
        world.drop(connection)
        return codes
    }

    @Test func `one source cannot take all rooms by leaving sessions behind`() {
        var limits = SignalingLimits()
        limits.rooms = 100
        limits.sessionsPerSource = 10
        var world = World(limits: limits)
        for connection in UInt64(1)...10 { #expect(visit(&world, connection, from: Self.mine).isEmpty) }
        for connection in UInt64(11)...20 {
            #expect(visit(&world, connection, from: Self.mine) == [.tooManyRooms])
        }
        #expect(visit(&world, 21, from: Self.other).isEmpty)
        #expect(visit(&world, 22, from: nil).isEmpty)
        world.wait(.seconds(121))
        #expect(visit(&world, 23, from: Self.mine).isEmpty, "left sessions count until they end")
        world.wait(.seconds(121))
        #expect(world.engine.sessionsBySource.isEmpty, "a source without sessions takes no memory")
    }

    @Test func `a session counts for the source that it was resumed from`() {
        var world = World()
        world.engine.connectionOpened(1, host: "example.org", source: Self.mine, at: world.now)
        world.say(.join(room: "room", name: "Ada"), on: 1)
        guard case .joined(let secret, _)? = world.take(1).first?.message else {
            Issue.record("not joined")
            return
        }
        #expect(world.engine.sessionsBySource == [Self.mine: 1])
        world.engine.connectionOpened(2, host: "example.org", source: Self.other, at: world.now)
        world.say(.resume(session: secret), ack: 0, on: 2)
        #expect(world.engine.sessionsBySource == [Self.other: 1])
        world.say(.leave, on: 2)
        #expect(world.engine.sessionsBySource.isEmpty)
    }

    @Test(arguments: [
        #"{"type":"ping","id":1e400}"#, #"{"type":"ping","id":-1}"#, #"{"type":"ping","id":1.5}"#,
        #"{"type":"ping","id":18446744073709551616}"#, #"{"type":"ping","id":9007199254740992}"#,
        #"{"type":"candidate","to":"x","seq":1e19,"candidate":null}"#,
        #"{"type":"candidate","to":"x","seq":1,"candidate":{"candidate":"","sdpMLineIndex":65536}}"#,
        #"{"type":"candidate","to":"x","seq":1,"candidate":{"candidate":"","sdpMLineIndex":-0.5}}"#,
        #"{"type":"join","version":1e99,"room":"r","name":"n"}"#, #"{"type":"ack","ack":-0.0001}"#,
        #"{"type":"description","to":[],"seq":1,"description":[[[[[]]]]]}"#, #"{"type":"\ud800"}"#, "[", "{", "\"",
        "\u{0}",
        #"{"type":"ping","id":"# + String(repeating: "9", count: 60_000) + "}",
        String(repeating: "[", count: 60_000), String(repeating: #"{"a":"#, count: 10_000),
    ])
    func `numbers and nesting that no client sends are mistakes, not the end`(text: String) {
        var world = World()
        _ = world.join(1)
        world.say(text, on: 1)
        #expect(!world.take(1).errorCodes.isEmpty)
        #expect(world.closes[1] != nil)
    }
}
