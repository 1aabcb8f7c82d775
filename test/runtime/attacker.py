# What can somebody try who has become root in an instance's network namespace, or is somewhere around the appliance?
#
#   listen PORT            TCP and UDP on every address; prints "tcp <client>" or "udp <client> <text>", greets TCP with "here"
#   sniff ADAPTER,...      prints the text behind "MARK:" of every frame that comes in there
#   tcp FROM TO PORT       prints what the server says, or "no"            (FROM 0.0.0.0: any)
#   udp FROM TO PORT TEXT  sends it
#   frame ADAPTER SOURCE DESTINATION TEXT  sends a UDP packet with any source, to the link's other end
#   arp ADAPTER ADDRESS TEXT               asks for an address, as broadcast
#   ping FROM TO TEXT      sends an ICMP echo request
# Several, with -- between them, are done one after the other.
import select, socket, struct, sys

OTHER = bytes.fromhex("02fd61000001")


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ipv4(source, destination, protocol, payload):
    def header(sum):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, sum,
                           socket.inet_aton(source), socket.inet_aton(destination))
    return header(checksum(header(0))) + payload


def adapter_socket(adapter):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind((adapter, 0))
    return s


def listen(port):
    tcp = socket.socket()
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind(("0.0.0.0", port))
    tcp.listen(16)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", port))
    print("ready", flush=True)
    while True:
        for s in select.select([tcp, udp], [], [])[0]:
            if s is tcp:
                client, address = tcp.accept()
                print("tcp", address[0], flush=True)
                try:
                    client.sendall(b"here")
                except OSError:
                    pass
                client.close()
            else:
                text, address = udp.recvfrom(2000)
                print("udp", address[0], text.decode(), flush=True)


def sniff(adapters):
    sockets = [adapter_socket(adapter) for adapter in adapters]
    print("ready", flush=True)
    while True:
        for s in select.select(sockets, [], [])[0]:
            frame, address = s.recvfrom(10000)
            if address[2] != 4 and b"MARK:" in frame:  # 4: sent by ourselves
                print(address[0], frame.split(b"MARK:")[1].split(b";")[0].decode(), flush=True)


def do(verb, words):
    if verb == "listen":
        listen(int(words[0]))
    elif verb == "sniff":
        sniff(words[0].split(","))
    elif verb == "tcp":
        s = socket.socket()
        s.settimeout(1.5)
        try:
            s.bind((words[0], 0))
            s.connect((words[1], int(words[2])))
            s.settimeout(10)
            print(s.recv(100).decode() or "nothing")
        except OSError:
            print("no")
    elif verb == "udp":
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((words[0], 0))
        try:
            s.sendto(f"MARK:{words[3]};".encode(), (words[1], int(words[2])))
        except OSError:
            pass
    elif verb == "frame":
        text = f"MARK:{words[3]};".encode()
        udp = struct.pack("!HHHH", 4000, 4000, 8 + len(text), 0) + text
        s = adapter_socket(words[0])
        mac = open(f"/sys/class/net/{words[0]}/address").read().strip().replace(":", "")
        to = bytes.fromhex(words[4]) if len(words) > 4 else OTHER
        s.send(to + bytes.fromhex(mac) + b"\x08\x00" + ipv4(words[1], words[2], 17, udp))
    elif verb == "arp":
        mac = bytes.fromhex(open(f"/sys/class/net/{words[0]}/address").read().strip().replace(":", ""))
        request = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, mac, bytes(4), bytes(6), socket.inet_aton(words[1]))
        adapter_socket(words[0]).send(b"\xff" * 6 + mac + b"\x08\x06" + request + f"MARK:{words[2]};".encode())
    elif verb == "ping":
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        s.bind((words[0], 0))
        text = f"MARK:{words[2]};".encode()
        text += b" " * (len(text) % 2)
        body = struct.pack("!BBHHH", 8, 0, 0, 1, 1) + text
        try:
            s.sendto(struct.pack("!BBHHH", 8, 0, checksum(body), 1, 1) + text, (words[1], 0))
        except OSError:
            pass


one = []
for word in sys.argv[1:] + ["--"]:
    if word != "--":
        one.append(word)
    elif one:
        do(one[0], one[1:])
        one = []
