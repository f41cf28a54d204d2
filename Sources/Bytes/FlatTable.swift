/// A key of a `FlatTable`: cheap to compare and to mix into 64 bits.
public protocol FlatKey: Equatable, Sendable {
    /// A well mixed hash; keys that an attacker chooses must mix in the table's seed.
    func flatHash(seed: UInt64) -> UInt64
}

extension UInt64: FlatKey {
    /// The key mixed with the seed by two multiplications (the finalizer of SplitMix64).
    @inlinable
    public func flatHash(seed: UInt64) -> UInt64 {
        var value = self ^ seed
        value = (value ^ value &>> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value &>> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value &>> 31
    }
}

extension UInt32: FlatKey {
    /// The key mixed like a 64-bit one.
    @inlinable
    public func flatHash(seed: UInt64) -> UInt64 { UInt64(self).flatHash(seed: seed) }
}

/// An open-addressed hash table of plain structs: one array, linear probing, no allocation except to grow.
///
/// Look-ups, changes and removals are O(1) and touch no reference count beyond the one array. `Value` should be a
/// trivial struct of a cache line or less; larger things belong into a `SlotPool`, with their slot as the value here.
public struct FlatTable<Key: FlatKey, Value>: ~Copyable {
    @usableFromInline
    struct Entry {
        @usableFromInline var key: Key
        @usableFromInline var value: Value
        @inlinable
        init(key: Key, value: Value) {
            self.key = key
            self.value = value
        }
        @inlinable
        mutating func change<Result>(_ body: (inout Value) -> Result) -> Result { body(&value) }
    }

    @usableFromInline var entries: [Entry?]
    @usableFromInline var mask: Int
    @usableFromInline let seed: UInt64

    @usableFromInline var keyCount = 0

    /// How many keys the table has.
    @inlinable
    public var count: Int { keyCount }

    /// Makes a table with room for `capacity` keys before it must grow.
    ///
    /// `seed` should be random and secret where a peer chooses the keys.
    public init(capacity: Int = 16, seed: UInt64) {
        var size = 16
        while size * 2 < capacity * 3 { size *= 2 }
        entries = Array(repeating: nil, count: size)
        mask = size - 1
        self.seed = seed
    }

    /// Where `key` stands, valid until the next insertion or removal, or `nil`.
    @inlinable
    public func index(of key: Key) -> Int? {
        var index = Int(truncatingIfNeeded: key.flatHash(seed: seed)) & mask
        while let entry = entries[index] {
            if entry.key == key { return index }
            index = (index &+ 1) & mask
        }
        return nil
    }

    /// The value of `key`, or `nil`.
    @inlinable
    public subscript(key: Key) -> Value? {
        guard let index = index(of: key) else { return nil }
        return entries[index]?.value
    }

    /// Changes the value of `key` in place; returns `nil` without calling `body` if the key is unknown.
    @inlinable
    public mutating func update<Result>(_ key: Key, _ body: (inout Value) -> Result) -> Result? {
        guard let index = index(of: key) else { return nil }
        return entries[index]?.change(body)
    }

    /// Sets the value of `key`; returns the one it had.
    @inlinable
    @discardableResult
    public mutating func insert(_ value: Value, for key: Key) -> Value? {
        if let index = index(of: key) {
            let old = entries[index]?.value
            entries[index] = Entry(key: key, value: value)
            return old
        }
        // At most two thirds full: a key that is there is found in two steps, one that is not in five, on average.
        if (count + 1) * 3 > entries.count * 2 { grow() }
        place(Entry(key: key, value: value))
        keyCount += 1
        return nil
    }

    /// Removes `key`; returns its value.
    @inlinable
    @discardableResult
    public mutating func remove(_ key: Key) -> Value? {
        guard var hole = index(of: key), let removed = entries[hole] else { return nil }
        keyCount -= 1
        // Entries that follow are shifted back, so that no tombstone makes later look-ups longer.
        var index = (hole + 1) & mask
        while let entry = entries[index] {
            let home = Int(truncatingIfNeeded: entry.key.flatHash(seed: seed)) & mask
            if (index &- home) & mask >= (index &- hole) & mask {
                entries[hole] = entry
                hole = index
            }
            index = (index + 1) & mask
        }
        entries[hole] = nil
        return removed.value
    }

    /// Calls `body` with every key and value, in no order.
    @inlinable
    public func forEach(_ body: (Key, Value) -> Void) {
        for entry in entries {
            if let entry { body(entry.key, entry.value) }
        }
    }

    @inlinable
    mutating func grow() {
        let old = entries
        entries = Array(repeating: nil, count: old.count * 2)
        mask = entries.count - 1
        for entry in old {
            if let entry { place(entry) }
        }
    }

    @inlinable
    mutating func place(_ entry: Entry) {
        var index = Int(truncatingIfNeeded: entry.key.flatHash(seed: seed)) & mask
        while entries[index] != nil { index = (index + 1) & mask }
        entries[index] = entry
    }
}
