"""What does a resolver answer, asked from this namespace?

Questions as JSON on stdin, one after the other: [{"server", "name", "type": "A", "tcp": false, "socket": "label"}, ...]; those with
the same label leave one UDP socket. Answers as JSON: [{"from", "code", "data", "aa"}], null where nothing comes.
"""
import ipaddress
import json
import socket
import struct
import sys

TYPES = {"A": 1, "AAAA": 28, "HTTPS": 65}
CODES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


def skip_name(octets, at):
    while octets[at]:
        if octets[at] >= 0xC0:
            return at + 2
        at += octets[at] + 1
    return at + 1


def read(octets, who):
    number, flags, questions, answers = struct.unpack("!HHHH", octets[:8])
    at = 12
    for _ in range(questions):
        at = skip_name(octets, at) + 4
    data = []
    for _ in range(answers):
        at = skip_name(octets, at)
        kind, _, _, length = struct.unpack("!HHIH", octets[at : at + 10])
        body = octets[at + 10 : at + 10 + length]
        if kind in (1, 28):
            data.append(str(ipaddress.ip_address(body)))
        at += 10 + length
    return {"id": number, "from": who, "code": CODES.get(flags & 15, flags & 15), "data": sorted(data), "aa": bool(flags & 0x400)}


def over_tcp(query, server, timeout):
    with socket.create_connection((server, 53), timeout) as one:
        one.sendall(struct.pack("!H", len(query)) + query)
        octets = b""
        while len(octets) < 2 or len(octets) < 2 + struct.unpack("!H", octets[:2])[0]:
            more = one.recv(65536)
            if not more:
                return None
            octets += more
        return read(octets[2:], server)


def ask(question, number, sockets, timeout):
    server = question["server"]
    name = b"".join(bytes([len(label)]) + label.encode() for label in question["name"].split(".")) + b"\0"
    query = struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + name + struct.pack("!HH", TYPES[question.get("type", "A")], 1)
    if question.get("tcp"):
        return over_tcp(query, server, timeout)
    label = question.get("socket", number)
    if label not in sockets:
        sockets[label] = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
    one = sockets[label]
    one.settimeout(timeout)
    one.sendto(query, (server, 53))
    while True:
        octets, (who, *_) = one.recvfrom(65536)
        answer = read(octets, who)
        if answer.pop("id") == number:
            return answer


def main():
    timeout = float(sys.argv[1])
    sockets, answers = {}, []
    for number, question in enumerate(json.load(sys.stdin), 1):
        try:
            answers.append(ask(question, number, sockets, timeout))
        except OSError:
            answers.append(None)
    print(json.dumps(answers))


main()
