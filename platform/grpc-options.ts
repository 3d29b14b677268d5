import type { ChannelOptions } from '@grpc/grpc-js';

/** Most bytes of one gRPC message unless a setting says otherwise: 256 MiB (grpc-js itself allows 4 MiB in). */
export const defaultMaxMessageBytes = 256 * 1024 * 1024;

export interface GrpcLimits {
  /** Largest message to send or to take, bytes. Default `defaultMaxMessageBytes`. */
  readonly maxMessageBytes?: number;
}

function commonOptions(limits: GrpcLimits): ChannelOptions {
  const maxMessageBytes = limits.maxMessageBytes ?? defaultMaxMessageBytes;
  return {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    // The HTTP/2 default of 64 KiB makes a large tensor wait for a round trip every 64 KiB.
    'grpc-node.flow_control_window': 8 * 1024 * 1024,
    // Finds a peer that vanished without closing (power, cable, pause) within 40 s. No pings on idle
    // connections: servers built on the C core answer those with GOAWAY "too_many_pings".
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.keepalive_permit_without_calls': 0,
  };
}

/** Options for every gRPC server of ours. */
export function serverOptions(limits: GrpcLimits = {}): ChannelOptions {
  // Bounded so that one connection cannot hold endless calls; far above what any caller has in flight.
  return { ...commonOptions(limits), 'grpc.max_concurrent_streams': 100_000 };
}

/** Options for every gRPC client of ours. Goes straight to the address: no proxy, no DNS service config. */
export function channelOptions(limits: GrpcLimits = {}): ChannelOptions {
  return {
    ...commonOptions(limits),
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
  };
}
