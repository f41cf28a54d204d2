import Glibc

/// How many descriptors the process may have: one for each connection and each relayed address.
enum DescriptorLimit {
    /// Raises the limit to what the system lets this process have; shells hand out 1024, which is soon too few.
    ///
    /// Returns the limit that holds then.
    @discardableResult
    static func raise() -> UInt64 {
        var limit = rlimit()
        // Both calls use the structure, which lives through them, and keep nothing of it.
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 0 }
        let before = limit.rlim_cur
        limit.rlim_cur = limit.rlim_max
        let isRaised = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
        return UInt64(isRaised ? limit.rlim_cur : before)
    }
}
