import Bytes
import ICE

func runICE(_ input: Span<UInt8>) -> Bool {
    var exercise = ICEExercise(seed: input.isEmpty ? 0 : UInt64(input[0]))
    exercise.run(input)
    return exercise.paths > 0
}

func runCandidate(_ input: Span<UInt8>) -> Bool {
    let text = String(decoding: input.toArray(), as: UTF8.self)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    var isUnderstood = false
    for line in lines {
        guard let candidate = try? Candidate(text: line) else { continue }
        isUnderstood = true
        precondition((try? Candidate(text: candidate.text)) == candidate, "a candidate is not read as it was written")
    }
    let half = lines.count / 2
    if let description = try? ICEDescription(session: Array(lines[..<half]), media: Array(lines[half...])) {
        isUnderstood = true
        let again = try? ICEDescription(session: description.attributeLines)
        precondition(again == description, "a description is not read as it was written")
    }
    _ = try? ICEAgent.replay(input.toArray())
    return isUnderstood
}
