import Synchronization

/// Numbered things of which each is one thread's at a time, with those that nobody has.
///
/// Each call takes a lock: a thread takes several, and gives several back.
package final class SharedStock<Element: Sendable>: Sendable {
    private struct Free {
        /// Those that somebody has had.
        var used: [Element] = []
        /// The number of the first that nobody has had.
        var next: UInt32
    }

    private let free: Mutex<Free>
    private let end: UInt32
    private let make: @Sendable (UInt32) -> Element

    /// Makes a stock of what has these numbers.
    package init(_ numbers: Range<UInt32>, _ make: @escaping @Sendable (UInt32) -> Element) {
        free = Mutex(Free(next: numbers.lowerBound))
        end = numbers.upperBound
        self.make = make
    }

    /// Adds as many as are wanted to the end of an array, or as there are: rather such as were used before, and of others the
    /// lowest last.
    package func take(_ count: Int, into elements: inout [Element]) {
        free.withLock { free in
            let used = min(count, free.used.count)
            elements += free.used.suffix(used)
            free.used.removeLast(used)
            let end = free.next + min(UInt32(count - used), self.end - free.next)
            elements += (free.next..<end).reversed().map(make)
            free.next = end
        }
    }

    /// Takes back the last ones of an array.
    package func putBack(_ count: Int, of elements: inout [Element]) {
        free.withLock { $0.used += elements.suffix(count) }
        elements.removeLast(count)
    }
}
