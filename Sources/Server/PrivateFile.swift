import CommandLineSupport
import EventLoop
import Glibc

/// Files that only their owner may read, and sentences about what is wrong with them.
enum PrivateFile {
    /// Reads a whole file of at most `limit` bytes; `nil` if there is none.
    ///
    /// - Throws: a sentence that names the file and the reason.
    static func read(_ path: String, limit: Int = 1 << 20) throws(UsageError) -> [UInt8]? {
        // Not to wait for ever where somebody has put a pipe.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw UsageError("Cannot read '\(path)': \(reason()).")
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            // The chunk's storage lives through the call and is as long as is said.
            let count = unsafe chunk.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
            guard count >= 0 else {
                if errno == EINTR { continue }
                throw UsageError("Cannot read '\(path)': \(reason()).")
            }
            if count == 0 { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= limit else {
                throw UsageError("'\(path)' is longer than \(limit) bytes; is it the right file?")
            }
        }
    }

    /// Reads a file that somebody has to name and that holds a secret: nobody but its owner and his group may read it.
    ///
    /// - Throws: a sentence that names the file, the option and the reason.
    static func secret(_ path: String, option: String) throws(UsageError) -> [UInt8] {
        var status = stat()
        // The structure is written during the call only.
        if unsafe stat(path, &status) == 0 {
            guard status.st_mode & S_IFMT != S_IFDIR else {
                throw UsageError("'\(path)' of '\(option)' is a directory: name a file.")
            }
            guard status.st_mode & S_IFMT != S_IFREG || status.st_mode & 0o007 == 0 else {
                throw UsageError(
                    "Every user of this machine has rights on '\(path)' of '\(option)', which holds a secret: close it "
                        + "with 'chmod o= \(path)'."
                )
            }
        }
        guard let bytes = try read(path) else {
            throw UsageError("There is no file '\(path)', which '\(option)' names.")
        }
        return bytes
    }

    /// Writes a file that only the owner can read, all or nothing: a crash leaves the old file or the new one.
    ///
    /// - Throws: a sentence that names the file and the reason.
    static func write(_ bytes: [UInt8], to path: String) throws(UsageError) {
        let temporary = path + ".new"
        // A file of our own making: not one that somebody holds open, nor one that a link leads to.
        _ = unsafe unlink(temporary)
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw UsageError("Cannot write '\(temporary)': \(reason()).") }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                let why = reason()
                close(descriptor)
                throw UsageError("Cannot write '\(temporary)': \(why).")
            }
            rest = rest.dropFirst(count)
        }
        let isSafe = fchmod(descriptor, 0o600) == 0 && fsync(descriptor) == 0
        close(descriptor)
        guard isSafe, unsafe rename(temporary, path) == 0 else {
            throw UsageError("Cannot write '\(path)': \(reason()).")
        }
        syncDirectory(of: path)
    }

    /// Makes a new name as lasting as the file that it names, where the file system can do that.
    private static func syncDirectory(of path: String) {
        let end = path.lastIndex(of: "/") ?? path.startIndex
        let directory = path[..<end].isEmpty ? "." : String(path[..<end])
        let descriptor = unsafe open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        close(descriptor)
    }

    /// Takes a file's rights away from all but its owner, if that is us.
    static func restrict(_ path: String) {
        var status = stat()
        guard unsafe stat(path, &status) == 0, status.st_uid == geteuid(), status.st_mode & 0o077 != 0 else { return }
        _ = unsafe chmod(path, 0o600)
    }

    /// Opens a file and locks it for this process until it ends; `nil` if another one has it.
    ///
    /// - Throws: a sentence that names the file and the reason.
    static func lock(_ path: String) throws(UsageError) -> Descriptor? {
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw UsageError("Cannot open '\(path)': \(reason()).") }
        let owned = Descriptor(owning: descriptor)
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            // A file system without locks has nobody to lock out.
            if errno == EWOULDBLOCK { return nil }
            return owned
        }
        return owned
    }

    /// Whether there is a file of that name.
    static func exists(_ path: String) -> Bool {
        var status = stat()
        // The structure is written during the call only.
        return unsafe lstat(path, &status) == 0
    }

    /// Whether a directory has nothing in it, or is not there, or is none.
    static func isEmpty(_ path: String) -> Bool {
        guard let directory = unsafe opendir(path) else { return true }
        defer { unsafe closedir(directory) }
        // The entry belongs to the directory's stream and is read before the next call.
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { unsafe Array($0.prefix { $0 != 0 }) }
            if name != Array(".".utf8), name != Array("..".utf8) { return false }
        }
        return true
    }

    /// Makes a directory that only the owner can enter, and those above it.
    ///
    /// One that exists is taken if nobody else may write to it: whoever can put files there chooses our secrets.
    ///
    /// - Throws: a sentence that names the directory and the reason.
    static func makeDirectory(_ path: String) throws(UsageError) {
        var current = path.hasPrefix("/") ? "" : "."
        for part in path.split(separator: "/") {
            current += "/\(part)"
            guard unsafe mkdir(current, 0o700) != 0, errno != EEXIST else { continue }
            // A directory above may lie where nobody may write, and be there all the same.
            var status = stat()
            let why = reason()
            guard unsafe stat(current, &status) == 0 else {
                throw UsageError("Cannot make the state directory '\(path)': \(why). Choose another with --state.")
            }
        }
        var status = stat()
        guard unsafe stat(path, &status) == 0 else {
            throw UsageError("Cannot use the state directory '\(path)': \(reason()). Choose another with --state.")
        }
        // Before the rights: the rights of a file would be a misleading reason.
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw UsageError("The state directory '\(path)' is not a directory. Choose another with --state.")
        }
        guard unsafe access(path, R_OK | W_OK | X_OK) == 0 else {
            throw UsageError("Cannot use the state directory '\(path)': \(reason()). Choose another with --state.")
        }
        guard status.st_mode & 0o022 == 0 else {
            throw UsageError(
                "Others may write to the state directory '\(path)', which holds secrets. "
                    + "Close it with 'chmod go-w', or choose another with --state."
            )
        }
        guard status.st_uid == geteuid() || geteuid() == 0 else {
            throw UsageError("The state directory '\(path)' belongs to another user. Choose another with --state.")
        }
    }

    /// The last system call's error as people say it.
    static func reason() -> String {
        // strerror's text is a static string for every number that the system uses.
        let text = unsafe String(cString: strerror(errno))
        return text.prefix(1).lowercased() + text.dropFirst()
    }
}
