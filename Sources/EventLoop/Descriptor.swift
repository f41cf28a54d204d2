import CLinux

/// The owner of a file descriptor: closes it when its life ends.
public struct Descriptor: ~Copyable, Sendable {
    /// The number, for the kernel; valid while the owner lives.
    public let number: Int32

    /// Takes ownership of an open descriptor.
    public init(owning number: Int32) { self.number = number }

    /// Takes ownership of what a system call returned; a negative result becomes an error.
    public init(_ result: Int32, _ operation: String) throws(SystemError) {
        guard result >= 0 else { throw SystemError(operation, number: -result) }
        self.init(owning: result)
    }

    deinit { _ = floe_close(number) }
}
