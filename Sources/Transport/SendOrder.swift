/// Puts the positions of a queue into groups of the same descriptor, groups and members in the order of their coming.
///
/// Two passes over the queue, whatever the number of groups; allocates nothing after `init`.
struct SendOrder {
    private struct Group {
        let descriptor: Int32
        var count: Int
        var end: Int
    }

    private var groups: [Group] = []
    private var groupOfElement: [UInt16] = []
    private var elements: [UInt16]
    /// Open addressing by descriptor: the group's number and 1, or 0.
    private var table: [UInt16]

    init(capacity: Int) {
        groups.reserveCapacity(capacity)
        groupOfElement.reserveCapacity(capacity)
        elements = Array(repeating: 0, count: capacity)
        var size = 16
        while size < capacity * 2 { size *= 2 }
        table = Array(repeating: 0, count: size)
    }

    var groupCount: Int { groups.count }

    /// Whether anything waits for that descriptor.
    func contains(_ descriptor: Int32) -> Bool {
        var slot = Int(descriptor) & (table.count - 1)
        while table[slot] != 0 {
            if groups[Int(table[slot] - 1)].descriptor == descriptor { return true }
            slot = (slot + 1) & (table.count - 1)
        }
        return false
    }

    /// Adds the next position of the queue.
    mutating func append(_ descriptor: Int32) {
        // Neighbours mostly have the same descriptor.
        if let last = groupOfElement.last, groups[Int(last)].descriptor == descriptor {
            groups[Int(last)].count += 1
            return groupOfElement.append(last)
        }
        var slot = Int(descriptor) & (table.count - 1)
        while table[slot] != 0 {
            let group = table[slot] - 1
            if groups[Int(group)].descriptor == descriptor {
                groups[Int(group)].count += 1
                return groupOfElement.append(group)
            }
            slot = (slot + 1) & (table.count - 1)
        }
        groups.append(Group(descriptor: descriptor, count: 1, end: 0))
        table[slot] = UInt16(groups.count)
        groupOfElement.append(UInt16(groups.count - 1))
    }

    /// Computes `range(ofGroup:)` and the elements.
    mutating func sort() {
        var start = 0
        for index in groups.indices {
            groups[index].end = start
            start += groups[index].count
        }
        for position in groupOfElement.indices {
            let group = Int(groupOfElement[position])
            elements[groups[group].end] = UInt16(position)
            groups[group].end += 1
        }
    }

    func range(ofGroup index: Int) -> Range<Int> { groups[index].end - groups[index].count..<groups[index].end }

    func element(at position: Int) -> Int { Int(elements[position]) }

    func withElements<Result>(from position: Int, _ body: (UnsafePointer<UInt16>?) -> Result) -> Result {
        unsafe elements.withUnsafeBufferPointer { buffer in
            precondition(position < buffer.count, "no such element")
            return unsafe body(buffer.baseAddress.map { unsafe $0 + position })
        }
    }

    mutating func removeAll() {
        // Only what was used is cleared; a chain of neighbours is cleared from its first element on.
        for group in groups {
            var slot = Int(group.descriptor) & (table.count - 1)
            while table[slot] != 0 {
                table[slot] = 0
                slot = (slot + 1) & (table.count - 1)
            }
        }
        groups.removeAll(keepingCapacity: true)
        groupOfElement.removeAll(keepingCapacity: true)
    }
}
