/// The sequenced messages of one session on their way to a client, from the first unacknowledged one on.
///
/// When more is unacknowledged than the limits allow, the history is given up: messages are numbered on, but a client
/// that must be sent something again cannot be helped, and the queue says so.
struct ReplayQueue {
    /// What became of an acknowledgement.
    enum Acknowledgement: Equatable {
        case taken
        /// It names a message that was never sent.
        case beyondSent
    }

    /// The number of the message sent last, 0 if none was sent.
    private(set) var sent: UInt64 = 0
    /// Whether all messages from the first unacknowledged one on are here.
    private(set) var isComplete: Bool
    /// How many bytes the messages have that are kept.
    private(set) var byteCount = 0

    // The messages acknowledged - those before `head` - are dropped in batches, so that each costs O(1).
    private var messages: [String] = []
    private var head = 0

    init(isComplete: Bool = true) { self.isComplete = isComplete }

    /// How many messages are kept.
    var count: Int { messages.count - head }

    /// The number that the next message gets.
    var next: UInt64 { sent + 1 }

    /// Numbers a message as `next` and keeps it, unless `limits` or `room` (bytes left for all sessions) forbid it.
    mutating func append(_ text: String, limits: SignalingLimits, room: Int) {
        sent += 1
        guard isComplete else { return }
        let bytes = text.utf8.count
        guard count < limits.replayMessages, bytes <= limits.replayBytes - byteCount, bytes <= room else {
            giveUp()
            return
        }
        messages.append(text)
        byteCount += bytes
    }

    /// Drops everything up to the message with this number.
    mutating func acknowledge(_ number: UInt64) -> Acknowledgement {
        guard number <= sent else { return .beyondSent }
        // A client that has everything misses nothing of what was given up.
        if number == sent, sent > 0 { isComplete = true }
        while count > 0, number > sent - UInt64(count) {
            byteCount -= messages[head].utf8.count
            messages[head] = ""
            head += 1
        }
        if head == messages.count {
            messages.removeAll(keepingCapacity: head <= 32)
            head = 0
        } else if head >= 64, head * 2 >= messages.count {
            messages.removeFirst(head)
            head = 0
        }
        return .taken
    }

    /// The messages after the one with this number, or `nil` if they are not all here.
    func messages(after number: UInt64) -> ArraySlice<String>? {
        guard isComplete, number <= sent, sent - number <= UInt64(count) else { return nil }
        return messages.suffix(Int(sent - number))
    }

    /// Starts again at number 1 with nothing sent.
    mutating func restart() { self = ReplayQueue() }

    private mutating func giveUp() {
        isComplete = false
        messages = []
        head = 0
        byteCount = 0
    }
}
