import CFuzzer
import FuzzTargets
import Glibc

// One program for all targets, so that it is linked once. libFuzzer starts itself anew with its own arguments when it
// makes a crash input smaller: the target is told by the environment, which lasts.

/// The target that `FLOE_FUZZ_TARGET` names.
private let target: FuzzTarget = {
    // The text is copied before anything could change the environment.
    let name = unsafe getenv("FLOE_FUZZ_TARGET").map { unsafe String(cString: $0) } ?? ""
    guard let target = FuzzTarget(rawValue: name) else {
        let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: ", ")
        print("FLOE_FUZZ_TARGET is '\(name)', but must be one of \(names).")
        exit(2)
    }
    return target
}()

/// What libFuzzer calls with each input.
@c(LLVMFuzzerTestOneInput)
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // libFuzzer owns the bytes, and they live as long as this call.
    let bytes = unsafe UnsafeBufferPointer(start: start, count: count)
    _ = unsafe target.run(bytes.span)
    return 0
}

/// The program's beginning, under the name that the package manager gives to `main`.
@c(Fuzzer_main)
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
    _ = target
    return unsafe floe_run_fuzzer(count, arguments, fuzzOneInput)
}
