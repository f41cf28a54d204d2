"""The signaling protocol over raw WebSockets: limits, sequence numbers, resumption."""

import json

from support import websocket
from support.websocket import BINARY, TEXT


def expect_error(client, code, close=None):
    """The next error has the code; the connection is then closed with `close`, or stays open and usable."""
    found = client.receive("error")
    assert found["code"] == code and found["message"], f"expected {code}, got {found}"
    if close:
        assert (seen := client.close_code()) == close, f"closed with {seen}, expected {close}"
    else:
        client.send(type="ping", id=5)
        assert client.receive("pong")["id"] == 5
    client.drop()


def pair(place, room):
    """Two who have joined a room: (WebSocket, answer) of the first and of the newcomer."""
    first = place.join(room, "first")
    second = place.join(room, "second")
    told = first[0].receive("peerJoined")
    assert told["peer"] == {"id": second[1]["id"], "name": "second"} and told["seq"] == 1, told
    assert second[1]["peers"] == [{"id": first[1]["id"], "name": "first"}], second[1]["peers"]
    return first, second


def candidate(to, seq, text="candidate:1 1 udp 1 192.0.2.1 9 typ host"):
    return dict(type="candidate", to=to, seq=seq, candidate={
        "candidate": text, "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "abcd"})


def joins_and_relays(place):
    (one, joined), (two, newcomer) = pair(place, "relaying")
    assert joined["version"] == 1 and len(joined["id"]) == 16 and len(joined["session"]) == 32, joined
    assert joined["heartbeatSeconds"] > 0 and joined["ttlSeconds"] > 0 and joined["limits"]["peersPerRoom"] == 6, joined
    description = {"type": "offer", "sdp": "v=0\r\n"}
    two.send(type="description", to=joined["id"], seq=1, description=description)
    told = one.receive("description")
    assert (told["from"], told["description"], told["seq"]) == (newcomer["id"], description, 2), told
    two.send(**candidate(joined["id"], 2))
    assert one.receive("candidate")["candidate"]["sdpMid"] == "0"
    two.send(type="candidate", to=joined["id"], seq=3, candidate=None)
    assert one.receive("candidate")["candidate"] is None
    two.send(**candidate(joined["id"], 3))  # seen already: ignored
    two.send(type="leave")
    assert two.close_code() == 1000
    left = one.receive()
    while left["type"] == "ack":
        left = one.receive()
    assert (left["type"], left["id"], left["reason"]) == ("peerLeft", newcomer["id"], "left"), left
    one.drop()


def faulty_messages(place):
    for payload, opcode in ((b"{", TEXT), (b"[]", TEXT), (b'{"type":"dance"}', TEXT), (b'{"type":5}', TEXT),
                            (b"\x00", BINARY), (b'{"type":"ping"}' * 2, TEXT), (b"[" * 10000, TEXT)):
        client, _ = place.join("faulty")
        client.send_frame(opcode, payload)
        expect_error(client, "badMessage", 4400)
    client = place.websocket()
    client.send(type="ping", id=1)
    expect_error(client, "notJoined", 4401)
    client = place.websocket()
    client.send(type="join", version=2, room="faulty", name="x")
    expect_error(client, "unsupportedVersion", 4402)
    for room, name, code in (("a b", "x", "badRoom"), ("", "x", "badRoom"), ("r" * 65, "x", "badRoom"),
                             ("faulty", "", "badName"), ("faulty", "n" * 65, "badName"), ("faulty", "a\nb", "badName")):
        client = place.websocket()
        client.send(type="join", version=1, room=room, name=name)
        found = client.receive("error")
        assert found["code"] == code, f"room {room!r}, name {name!r}: expected {code}, got {found}"
        client.send(type="join", version=1, room="faulty", name="corrected")
        assert client.receive("joined", "error")["type"] == "joined", "a corrected join is refused"
        client.drop()


def join_twice(place):
    client, _ = place.join("twice")
    client.send(type="join", version=1, room="twice", name="again")
    expect_error(client, "alreadyJoined")


def too_large(place):
    client, _ = place.join("large")
    client.send(type="ping", id=1, filler="x" * 60000)
    assert client.receive("pong")["id"] == 1, "a message within the limit is refused"
    client.send_frame(TEXT, json.dumps({"type": "ping", "id": 1, "filler": "x" * 70000}).encode())
    code = client.close_code()
    assert code == 1009, f"closed with {code}, expected 1009"
    client.drop()


def too_fast(place):
    client, joined = place.join("fast")
    flood = joined["limits"]["messageBurst"] + 20 * joined["limits"]["messagesPerSecond"]
    try:
        for number in range(flood):
            client.send(type="ping", id=number)
        code = client.close_code()
    except (websocket.Closed, OSError) as closed:
        code = getattr(closed, "code", None)
    assert code == 4429, f"closed with {code}, expected 4429"
    client.drop()


def room_full(place):
    people = [place.join("full", f"n{number}") for number in range(7)]
    assert [answer["type"] for _, answer in people] == ["joined"] * 6 + ["error"], "not exactly six are let in"
    assert people[6][1]["code"] == "roomFull", people[6][1]
    people[0][0].send(type="leave")
    people[0][0].close_code()
    people[6][0].send(type="join", version=1, room="full", name="patient")
    assert people[6][0].receive("joined", "error")["type"] == "joined", "the place that was left is not given away"
    for client, _ in people:
        client.drop()


def unknown_things(place):
    client, answer = place.resume("A" * 32)
    assert (answer["type"], answer.get("code")) == ("error", "sessionUnknown"), answer
    client.send(type="join", version=1, room="unknown", name="anew")
    assert client.receive("joined", "error")["type"] == "joined", "a new join after sessionUnknown is refused"
    client.send(**candidate("A" * 16, 1))
    found = client.receive("error")
    assert (found["code"], found["seq"]) == ("unknownPeer", 1), found
    client.send(**candidate("A" * 16, 7))
    expect_error(client, "sequenceGap", 4406)


def resumes_with_replay(place):
    (one, joined), (two, newcomer) = pair(place, "resuming")
    one.drop()
    for seq in range(1, 4):
        two.send(**candidate(joined["id"], seq, f"candidate:{seq} 1 udp 1 192.0.2.1 9 typ host"))
    # The answer to a ping comes after the messages before it were taken in.
    two.send(type="ping", id=1)
    two.receive("pong")
    again, answer = place.resume(joined["session"], ack=1)
    assert (answer["type"], answer.get("replay"), answer.get("ack")) == ("resumed", "complete", 0), answer
    assert answer["id"] == joined["id"] and answer["peers"] == [{"id": newcomer["id"], "name": "second"}], answer
    missed = [again.receive("candidate") for _ in range(3)]
    assert [message["seq"] for message in missed] == [2, 3, 4], missed
    assert [message["candidate"]["candidate"].split()[0] for message in missed] == [
        "candidate:1", "candidate:2", "candidate:3"], missed
    # A second resume replaces the first.
    third, answer = place.resume(joined["session"], ack=4)
    assert answer["type"] == "resumed", answer
    assert (code := again.close_code()) == 4409, f"the replaced WebSocket was closed with {code}, expected 4409"
    third.send(**candidate(newcomer["id"], 1))
    assert two.receive("candidate")["from"] == joined["id"]
    for client in (again, two, third):
        client.drop()


def resumes_after_kill(place, floe):
    (one, joined), (two, newcomer) = pair(place, "surviving")
    floe.kill()
    one.drop()
    two.drop()
    floe.start()
    one, answer = place.resume(joined["session"], ack=1)
    assert (answer["type"], answer.get("replay")) == ("resumed", "lost"), answer
    assert answer["id"] == joined["id"], "another id after the restart"
    assert [peer["id"] for peer in answer["peers"]] == [newcomer["id"]], "the other's session is forgotten"
    two, answer = place.resume(newcomer["session"])
    assert answer["type"] == "resumed", answer
    two.send(**candidate(joined["id"], 1))
    told = one.receive("candidate")
    assert (told["from"], told["seq"]) == (newcomer["id"], 1), told
    one.drop()
    two.drop()


def says_nothing(place):
    client = place.websocket()
    client.stream.settimeout(40)
    code = client.close_code()
    assert code == 4408, f"closed with {code}, expected 4408"
    client.drop()


def tests(place, floe):
    yield "two join, and messages pass between them", joins_and_relays, place
    yield "faulty messages are named and closed with their codes", faulty_messages, place
    yield "a second join is refused", join_twice, place
    yield "a message that is too large: 1009", too_large, place
    yield "messages that come too fast: 4429", too_fast, place
    yield "the seventh in a room: roomFull", room_full, place
    yield "unknown session, unknown peer, gap in the sequence", unknown_things, place
    yield "a lost WebSocket is resumed with all that was missed", resumes_with_replay, place
    yield "sessions outlive a killed server", resumes_after_kill, place, floe


def slow_tests(place):
    yield "a WebSocket that says nothing: 4408", says_nothing, place
