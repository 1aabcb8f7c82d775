/**
 * Which part of npm `raw-socket` do we use? The package brings no types.
 */
declare module "raw-socket" {
  interface RawSocket {
    setOption(level: number, option: number, value: number): void;
    setOption(level: number, option: number, value: Buffer, length: number): void;
    send(
      buffer: Buffer,
      offset: number,
      length: number,
      address: string,
      after: (error: Error | null, octets: number) => void,
    ): void;
    pauseRecv(): void;
    pauseSend(): void;
    close(): void;
    on(event: "error", listener: (error: Error) => void): void;
    on(event: "close", listener: () => void): void;
    on(event: "message", listener: (octets: Buffer, source: string) => void): void;
  }
  const raw: {
    createSocket(options: { protocol: number; addressFamily: number }): RawSocket;
    AddressFamily: { IPv4: number; IPv6: number };
    SocketLevel: { SOL_SOCKET: number; IPPROTO_IP: number; IPPROTO_IPV6: number };
    SocketOption: { SO_BINDTODEVICE: number; IP_HDRINCL: number };
  };
  export default raw;
  export type { RawSocket };
}
