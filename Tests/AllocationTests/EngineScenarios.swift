import Bytes
import CMallocCounter
import NetTypes
import STUN
import TURN
import TURNServer

// What a client's packets cost in the engine, without sockets.
let engineScenarios = [
    Scenario("relay ChannelData to a peer") {
        var world = try EngineWorld.allocated(binding: true)
        let message = [0x40, 0, 0, 100] + [UInt8](repeating: 7, count: 100)
        return try blocksPerOperation { _ in try world.expectRelay(message) }
    },
    Scenario("relay a Send indication to a peer") {
        var world = try EngineWorld.allocated(binding: false)
        let message = try world.sendIndication()
        return try blocksPerOperation { _ in try world.expectRelay(message) }
    },
    Scenario("relay a peer's datagram as ChannelData") {
        var world = try EngineWorld.allocated(binding: true)
        var buffer = [UInt8](repeating: 7, count: 64 + 100 + 64)
        return try blocksPerOperation { _ in try world.expectDelivery(&buffer) }
    },
    Scenario("relay a peer's datagram as a Data indication") {
        var world = try EngineWorld.allocated(binding: false)
        var buffer = [UInt8](repeating: 7, count: 64 + 100 + 64)
        return try blocksPerOperation { _ in try world.expectDelivery(&buffer) }
    },
    Scenario("drop a datagram of a peer without permission") {
        var world = try EngineWorld.allocated(binding: false)
        var buffer = [UInt8](repeating: 7, count: 64 + 100 + 64)
        let stranger = SocketAddress(IPAddress(ipv4: 0xCB00_7109), port: 9)
        return try blocksPerOperation { _ in
            guard try !world.deliver(&buffer, from: stranger) else { throw SetupError("A stranger got through.") }
        }
    },
    Scenario("answer a Binding request") {
        var world = try EngineWorld.allocated(binding: false)
        let message = try EngineWorld.message(.binding, [])
        return try blocksPerOperation { _ in try world.expectResponse(message, byteCount: 32) }
    },
    Scenario("answer an Allocate without credentials (401)") {
        var world = try EngineWorld.allocated(binding: false)
        let message = try EngineWorld.message(.allocate, [EngineWorld.requestedTransport])
        return try blocksPerOperation { _ in try world.expectResponse(message, byteCount: 80) }
    },
    Scenario("drop noise") {
        var world = try EngineWorld.allocated(binding: false)
        let message: [UInt8] = [0, 1, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
        return blocksPerOperation { _ in world.ignore(message) }
    },
    // Control messages may take some: the account's name and key, and the deadlines that are made anew now and then.
    Scenario("answer an authenticated Refresh", budget: 0.5) {
        var world = try EngineWorld.allocated(binding: false)
        let message = try world.authenticated(.refresh, [])
        return try blocksPerOperation { _ in try world.expectResponse(message, byteCount: 48) }
    },
    Scenario("make and end an allocation, its two requests written as well", budget: 10) {
        var world = try EngineWorld.allocated(binding: false)
        let end = try world.authenticated(.refresh, [.init(.lifetime, [0, 0, 0, 0])])
        return try blocksPerOperation { index in
            try world.expectResponse(end, byteCount: 48)
            try world.allocate(transaction: UInt64(index) + 10)
            world.advance(.seconds(40))
        }
    },
    // Bytes in place of blocks: what the driver knows of a relay socket, 72 bytes, makes it a KiB.
    Scenario("bytes (not blocks) of one of 5000 allocations, with a channel", budget: 1024 - 72) {
        var world = try EngineWorld.allocated(binding: true)
        let before = floe_allocated_bytes()
        for port in 0..<5000 as Range<UInt16> { try world.join(port: 5000 + port) }
        return Double(floe_allocated_bytes() - before) / 5000
    },
]
