// swift-tools-version: 6.3
import Foundation
import PackageDescription

// One package, many small modules (Documentation/Architecture.md). A module depends only on modules listed before it.

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InferIsolatedConformances"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("ImmutableWeakCaptures"),
    .enableExperimentalFeature("Lifetimes"),
]

let root = Context.packageDirectory

func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: root + "/" + path) }

func dependencies(_ names: [String]) -> [Target.Dependency] { names.map { .init(stringLiteral: $0) } }

/// A Swift module in `Sources/<name>`; its README is documentation, not a resource.
func module(_ name: String, _ needs: [String] = [], resources: [Resource] = []) -> Target {
    .target(
        name: name,
        dependencies: dependencies(needs),
        exclude: exists("Sources/\(name)/README.md") ? ["README.md"] : [],
        resources: resources,
        swiftSettings: settings
    )
}

func tests(_ name: String, _ needs: [String], resources: [Resource] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies(needs), resources: resources, swiftSettings: settings)
}

func system(_ name: String, pkgConfig: String? = nil, apt: String) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

let ground: [Target] = [
    module("Bytes"),
    module("NetTypes", ["Bytes"]),
    module("Diagnostics", ["NetTypes"]),
    system("COpenSSL", pkgConfig: "openssl", apt: "libssl-dev"),
    module("Crypto", ["Bytes", "NetTypes", "COpenSSL"]),
]
let engines: [Target] = [
    module("STUN", ["Bytes", "NetTypes", "Diagnostics", "Crypto"]),
    module("TURN", ["Bytes", "NetTypes", "Diagnostics", "Crypto", "STUN"]),
    module("TURNServer", ["Bytes", "NetTypes", "Diagnostics", "Crypto", "STUN", "TURN"]),
    module("Resolution", ["NetTypes", "STUN", "TURN"]),
    module("ICE", ["Bytes", "NetTypes", "Crypto", "STUN"]),
    module("HTTP", ["Bytes", "NetTypes"]),
    module("ProxyProtocol", ["Bytes", "NetTypes"]),
    module("MDNS", ["Bytes", "NetTypes", "Diagnostics"]),
    module("PortMapping", ["Bytes", "NetTypes", "Diagnostics", "HTTP"]),
    module(
        "Connectivity",
        ["Bytes", "NetTypes", "Diagnostics", "Crypto", "STUN", "TURN", "ICE", "MDNS", "PortMapping"]
    ),
    // Drive the engines in virtual time; libraries of their own.
    module("Simulation", ["Bytes", "NetTypes", "Diagnostics", "Crypto", "STUN", "TURN", "TURNServer"]),
    module(
        "CallSimulation",
        [
            "Bytes", "NetTypes", "Diagnostics", "STUN", "TURN", "TURNServer", "ICE", "MDNS", "PortMapping",
            "Connectivity", "Simulation",
        ]
    ),
    // Debian's libwslay-dev has no pkg-config file: the module map names the library.
    system("CWslay", apt: "libwslay-dev"),
    module("Pipe", ["Bytes", "NetTypes", "Diagnostics", "Crypto"]),
    module("WebSocket", ["Bytes", "NetTypes", "Crypto", "HTTP", "CWslay"]),
    module("SignalingMessages"),
    module("Signaling", ["Bytes", "NetTypes", "Crypto", "Diagnostics", "SignalingMessages"]),
]
let drivers: [Target] = [
    .target(name: "CLinux", exclude: exists("Sources/CLinux/README.md") ? ["README.md"] : []),
    module("EventLoop", ["Bytes", "NetTypes", "Diagnostics", "CLinux"]),
    module("Transport", ["Bytes", "NetTypes", "Diagnostics", "Crypto", "ProxyProtocol", "CLinux", "EventLoop"]),
    .target(
        name: "FastPath",
        dependencies: dependencies(["NetTypes", "CLinux", "EventLoop"]),
        exclude: ["README.md", "relay.bpf.c"],
        swiftSettings: settings
    ),
    .target(
        name: "SocketLookup",
        dependencies: dependencies(["Bytes", "NetTypes", "CLinux", "EventLoop", "Transport"]),
        exclude: ["README.md", "lookup.bpf.c"],
        swiftSettings: settings
    ),
    system("CCares", pkgConfig: "libcares", apt: "libc-ares-dev"),
    module("NameResolver", ["NetTypes", "STUN", "Resolution", "EventLoop", "Transport", "CCares"]),
    module(
        "ICETransport",
        [
            "Bytes", "NetTypes", "Diagnostics", "Crypto", "STUN", "Resolution", "ICE", "MDNS", "PortMapping",
            "Connectivity", "CLinux", "EventLoop", "Transport", "NameResolver",
        ]
    ),
]
let services: [Target] = [
    system("CSQLite", pkgConfig: "sqlite3", apt: "libsqlite3-dev"),
    module("Store", ["Bytes", "NetTypes", "CSQLite"]),
    module(
        "Relay",
        [
            "Bytes", "NetTypes", "Diagnostics", "Crypto", "STUN", "TURN", "TURNServer", "CLinux", "EventLoop",
            "FastPath", "Transport", "SocketLookup",
        ]
    ),
    module(
        "Instruments",
        [
            "Bytes", "NetTypes", "Diagnostics", "Crypto", "STUN", "TURN", "Resolution", "EventLoop", "Transport",
            "NameResolver",
        ]
    ),
    .target(name: "CCallPage"),
    .target(
        name: "CallPage",
        dependencies: ["CCallPage"],
        exclude: ["www", "README.md"],
        swiftSettings: settings
    ),
    module(
        "WebService",
        [
            "Bytes", "NetTypes", "Diagnostics", "Crypto", "TURN", "HTTP", "WebSocket", "SignalingMessages", "Signaling",
            "CLinux", "EventLoop", "Transport", "Store", "CallPage",
        ]
    ),
    module(
        "PeerTools",
        [
            "Bytes", "NetTypes", "Diagnostics", "Crypto", "STUN", "TURN", "ICE", "Connectivity", "HTTP", "Pipe",
            "WebSocket", "SignalingMessages", "PortMapping", "Resolution", "EventLoop", "Transport", "NameResolver",
            "ICETransport", "Instruments",
        ]
    ),
    module("CommandLineSupport", []),
    module(
        "Conformance",
        ["Bytes", "NetTypes", "Crypto", "STUN", "TURN", "EventLoop", "Transport"]
    ),
    module(
        "Bench",
        ["Bytes", "NetTypes", "Crypto", "STUN", "TURN", "EventLoop", "Transport", "Instruments"]
    ),
    module(
        "Server",
        [
            "Bytes", "NetTypes", "Diagnostics", "Crypto", "STUN", "TURN", "TURNServer", "Signaling", "EventLoop",
            "Transport", "Store", "Resolution", "NameResolver", "FastPath", "Relay", "WebService", "Instruments",
            "CommandLineSupport", "Conformance", "Bench", "Simulation", "CallSimulation",
            "ICE", "Connectivity", "ICETransport", "Pipe", "PeerTools",
        ]
    ),
    .executableTarget(
        name: "floe",
        dependencies: dependencies(["CommandLineSupport", "Server"]),
        path: "Sources/Tools/floe",
        swiftSettings: settings
    ),
]
let testing: [Target] = [
    .target(name: "CMutexAnnotations", path: "Tests/CMutexAnnotations"),
    .target(
        name: "TestSupport",
        dependencies: dependencies(["Bytes", "NetTypes", "CMutexAnnotations"]),
        path: "Tests/Support",
        swiftSettings: settings
    ),
    .target(
        name: "ServiceTestSupport",
        dependencies: dependencies(["Bytes", "NetTypes", "Crypto", "EventLoop", "Transport"]),
        path: "Tests/ServiceSupport",
        swiftSettings: settings
    ),
    tests("BytesTests", ["Bytes", "TestSupport"]),
    tests("NetTypesTests", ["NetTypes", "TestSupport"]),
    tests("DiagnosticsTests", ["Diagnostics", "NetTypes"]),
    tests("CryptoTests", ["Crypto", "COpenSSL", "Bytes", "NetTypes", "TestSupport"]),
    tests("STUNTests", ["STUN", "TURN", "Diagnostics", "Crypto", "Bytes", "NetTypes", "TestSupport"]),
    tests("TURNTests", ["TURN", "STUN", "Crypto", "Bytes", "NetTypes", "TestSupport"]),
    tests(
        "TURNClientTests",
        ["TURN", "TURNServer", "STUN", "Crypto", "Bytes", "NetTypes", "Diagnostics", "TestSupport"]
    ),
    tests(
        "TURNServerTests",
        ["TURNServer", "TURN", "STUN", "Crypto", "Bytes", "NetTypes", "Diagnostics", "TestSupport"]
    ),
    tests("ResolutionTests", ["Resolution", "STUN", "TURN", "NetTypes", "TestSupport"]),
    tests("FastPathTests", ["FastPath", "EventLoop", "NetTypes"]),
    tests(
        "NameResolverTests",
        ["NameResolver", "Resolution", "STUN", "TURN", "Transport", "EventLoop", "NetTypes", "Bytes", "TestSupport"]
    ),
    tests("ICETests", ["ICE", "STUN", "Crypto", "Bytes", "NetTypes", "TestSupport"]),
    tests(
        "ConnectivityTests",
        [
            "Connectivity", "CallSimulation", "Simulation", "ICE", "MDNS", "TURNServer", "TURN", "STUN", "Crypto",
            "Bytes",
            "NetTypes", "Diagnostics", "TestSupport",
        ]
    ),
    tests("MDNSTests", ["MDNS", "Bytes", "NetTypes", "Diagnostics", "TestSupport"]),
    tests("PortMappingTests", ["PortMapping", "HTTP", "Bytes", "NetTypes", "Diagnostics", "TestSupport"]),
    tests(
        "SimulationTests",
        [
            "Simulation", "TURNServer", "TURN", "STUN", "Crypto", "Bytes", "NetTypes", "Diagnostics", "TestSupport",
        ]
    ),
    tests(
        "CallSimulationTests",
        [
            "CallSimulation", "Simulation", "Connectivity", "ICE", "MDNS", "PortMapping", "TURN", "STUN", "Bytes",
            "NetTypes", "Diagnostics", "TestSupport",
        ]
    ),
    tests("HTTPTests", ["HTTP", "Bytes", "NetTypes", "TestSupport"]),
    tests("ProxyProtocolTests", ["ProxyProtocol", "Bytes", "NetTypes", "TestSupport"]),
    tests("WebSocketTests", ["WebSocket", "HTTP", "Bytes", "NetTypes", "Crypto", "TestSupport"]),
    tests("SignalingTests", ["Signaling", "SignalingMessages", "Diagnostics", "NetTypes", "Bytes", "TestSupport"]),
    tests("StoreTests", ["Store", "NetTypes", "TestSupport"]),
    tests(
        "LoopbackTests",
        ["EventLoop", "Transport", "Crypto", "NetTypes", "Bytes", "Diagnostics", "CLinux", "TestSupport"]
    ),
    tests(
        "InstrumentsTests",
        [
            "Instruments", "Resolution", "Relay", "TURNServer", "TURN", "STUN", "Crypto", "Bytes", "NetTypes",
            "Diagnostics", "EventLoop", "Transport", "TestSupport",
        ]
    ),
    tests("BenchTests", ["Bench", "Instruments", "EventLoop", "Bytes", "NetTypes", "TestSupport"]),
    tests(
        "ICETransportTests",
        [
            "ICETransport", "Connectivity", "ICE", "Relay", "TURNServer", "TURN", "STUN", "Crypto", "Bytes", "NetTypes",
            "Diagnostics", "EventLoop", "Transport", "TestSupport", "ServiceTestSupport",
        ]
    ),
    tests("PipeTests", ["Pipe", "Crypto", "Bytes", "NetTypes", "Diagnostics", "TestSupport"]),
    tests(
        "PeerToolsTests",
        [
            "PeerTools", "SignalingMessages", "ICETransport", "Pipe", "Connectivity", "ICE", "EventLoop", "Crypto",
            "STUN", "Transport", "HTTP", "WebSocket", "Bytes", "NetTypes", "TestSupport",
        ]
    ),
    tests("CommandLineSupportTests", ["CommandLineSupport"]),
    tests("FuzzTests", ["FuzzTargets"]),
    tests(
        "RelayTests",
        [
            "Relay", "TURNServer", "TURN", "STUN", "FastPath", "Transport", "EventLoop", "Crypto", "Diagnostics",
            "NetTypes", "Bytes", "SocketLookup", "TestSupport", "ServiceTestSupport",
        ]
    ),
    tests(
        "WebServiceTests",
        [
            "WebService", "CallPage", "Store", "Signaling", "SignalingMessages", "WebSocket", "HTTP", "Transport",
            "EventLoop", "Crypto", "Diagnostics", "NetTypes", "Bytes", "TestSupport", "ServiceTestSupport",
        ]
    ),
    tests(
        "ConformanceTests",
        [
            "Conformance", "Relay", "TURNServer", "TURN", "STUN", "Crypto", "Bytes", "NetTypes", "Diagnostics",
            "EventLoop", "Transport", "TestSupport",
        ]
    ),
    tests(
        "ServerTests",
        [
            "Server", "Conformance", "CommandLineSupport", "Transport", "EventLoop", "Crypto", "Bytes", "NetTypes",
            "Diagnostics",
            "WebService", "HTTP", "TestSupport", "ServiceTestSupport",
        ]
    ),
    .target(
        name: "FuzzTargets",
        dependencies: dependencies([
            "Bytes", "NetTypes", "Diagnostics", "Crypto", "STUN", "TURN", "TURNServer", "Resolution", "HTTP",
            "ProxyProtocol", "WebSocket", "SignalingMessages", "Signaling", "CommandLineSupport", "Server", "ICE",
            "MDNS",
            "PortMapping", "Connectivity",
        ]),
        path: "Fuzz/FuzzTargets",
        swiftSettings: settings
    ),
    .target(name: "CMallocCounter", path: "Tests/CMallocCounter"),
    .executableTarget(
        name: "AllocationTests",
        dependencies: dependencies([
            "CMallocCounter", "Bytes", "NetTypes", "Diagnostics", "Crypto", "STUN", "TURN", "TURNServer", "ICE",
            "Connectivity", "CLinux", "EventLoop", "Transport", "Relay",
        ]),
        path: "Tests/AllocationTests",
        swiftSettings: settings
    ),
]

/// libFuzzer's program links only with `-sanitize=fuzzer` (Scripts/fuzz), so it is there only when it is asked for.
let fuzzing: [Target] =
    Context.environment["FUZZING"] == nil
    ? []
    : [
        .target(name: "CFuzzer", path: "Fuzz/CFuzzer"),
        .executableTarget(
            name: "Fuzzer",
            dependencies: ["CFuzzer", "FuzzTargets"],
            path: "Fuzz/Fuzzer",
            swiftSettings: settings + [.unsafeFlags(["-parse-as-library"])]
        ),
    ]

let package = Package(
    name: "floe",
    products: [
        .executable(name: "floe", targets: ["floe"]),
        .library(name: "Simulation", targets: ["Simulation", "CallSimulation"]),
    ],
    targets: (ground + engines + drivers + services + testing + fuzzing)
)
