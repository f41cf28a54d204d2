import Bytes
import Connectivity
import EventLoop
import ICE
import NetTypes

/// What owners of connections ask of the loop.
extension LoopRunner {
    func readMail() {
        mailbox.receive(into: &messages)
        for message in messages {
            switch message {
            case .open(let driven): open(driven)
            case .signal(let driven): serve(driven)
            case .stop: stop()
            }
        }
        messages.removeAll(keepingCapacity: true)
    }

    private func open(_ driven: Driven) {
        guard stopsAt == nil, !mailbox.isClosed, let handle = sessions.insert(driven) else {
            count.end()
            agents?.remove(driven.tag)
            return driven.core.finish(last: nil)
        }
        driven.handle = handle
        driven.fragments = [driven.session.localDescription.credentials.usernameFragment]
        driven.session.updateInterfaces(interfaces, at: now)
        drain(driven)
    }

    /// Does what the owner of a connection has asked for.
    private func serve(_ driven: Driven) {
        let (commands, datagrams) = driven.core.take()
        guard driven.handle != nil else { return commands.forEach { $0.abandon(last: nil) } }
        // What was given before the end goes out before it.
        var unsent = datagrams[...]
        for command in commands {
            if case .close = command { while let datagram = unsent.popFirst() { send(datagram, driven) } }
            perform(command, driven)
        }
        for datagram in unsent { send(datagram, driven) }
        drain(driven)
    }

    private func perform(_ command: ConnectionCommand, _ driven: Driven) {
        switch command {
        case .gather: driven.session.gather(at: now)
        case .describe(let description):
            _ = driven.session.setRemoteDescription(description, at: now)
            noteFragment(driven)
        case .add(let candidate): driven.session.addRemoteCandidate(candidate, at: now)
        case .remove(let candidate): driven.session.removeRemoteCandidate(candidate, at: now)
        case .endOfCandidates: driven.session.endOfRemoteCandidates(at: now)
        case .restart(let waiter):
            let description = driven.session.restart(at: now)
            noteFragment(driven)
            waiter.resume(returning: description)
        case .report(let waiter): waiter.resume(returning: driven.report)
        case .close:
            driven.isClosing = true
            driven.session.close(at: now)
        }
    }

    private func stop() {
        guard stopsAt == nil else { return }
        stopsAt = now + Self.endPatience
        for handle in sessions.handles {
            guard let driven = sessions.read(handle, { $0 }) else { continue }
            driven.session.close(at: now)
            drain(driven)
        }
        closeServices()
    }
}
