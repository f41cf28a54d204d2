import Simulation

/// Which NATs let two hosts through to each other: a model of its own, without packets, time or ICE.
///
/// A side is a host behind one NAT. Endpoints are labels; a NAT gives its host a label for each peer label, as its mapping
/// says, and lets in what its filter says. Both sides send to every label that they know; whoever gets something knows
/// where it came from. They are through when an answer comes back from the very label that was asked.
struct PunchingModel {
    /// An outer endpoint: whose, for which address of the peer, and for which port of it; -1 stands for "any".
    struct Label: Hashable {
        let side: Int
        let address: Int
        let port: Int
    }

    struct Side {
        let mapping: Dependence
        let filtering: Dependence
        var known: Set<Label> = []
        /// To whom was sent from which label.
        var invited: [Label: Set<Label>] = [:]
    }

    private var sides: [Side]
    /// Numbers for labels, which stand for their ports: a label's address is its side.
    private var numbers: [Label: Int] = [:]

    static func isDirect(_ left: NATBehavior?, _ right: NATBehavior?) -> Bool {
        var model = PunchingModel(left, right)
        return model.run()
    }

    private init(_ left: NATBehavior?, _ right: NATBehavior?) {
        sides = [left, right].map { behavior in
            Side(
                mapping: behavior?.mapping ?? .endpointIndependent,
                filtering: behavior?.filtering ?? .endpointIndependent
            )
        }
    }

    private mutating func number(_ label: Label) -> Int {
        if let number = numbers[label] { return number }
        numbers[label] = numbers.count
        return numbers.count - 1
    }

    private mutating func source(_ side: Int, to target: Label) -> Label {
        switch sides[side].mapping {
        case .endpointIndependent: Label(side: side, address: -1, port: -1)
        case .addressDependent: Label(side: side, address: target.side, port: -1)
        case .addressAndPortDependent: Label(side: side, address: target.side, port: number(target))
        }
    }

    private func lets(_ target: Label, from source: Label) -> Bool {
        let invited = sides[target.side].invited[target, default: []]
        switch sides[target.side].filtering {
        case .endpointIndependent: return sides[target.side].invited[target] != nil
        case .addressDependent: return invited.contains { $0.side == source.side }
        case .addressAndPortDependent: return invited.contains(source)
        }
    }

    private mutating func run() -> Bool {
        // The server is a third side; its label is what both have asked.
        let server = Label(side: 2, address: -1, port: -1)
        for side in 0..<2 {
            let seen = source(side, to: server)
            sides[side].invited[seen, default: []].insert(server)
            sides[1 - side].known.insert(seen)
        }
        for _ in 0..<8 {
            for side in 0..<2 {
                for target in sides[side].known.sorted(by: { "\($0)" < "\($1)" }) {
                    let own = source(side, to: target)
                    sides[side].invited[own, default: []].insert(target)
                    guard lets(target, from: own) else { continue }
                    sides[1 - side].known.insert(own)
                    let answer = source(1 - side, to: own)
                    sides[1 - side].invited[answer, default: []].insert(own)
                    if answer == target { return true }
                }
            }
        }
        return false
    }
}
