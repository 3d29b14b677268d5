import { SingleBar } from 'cli-progress';

export interface Progress {
  update(doneMs: number, totalMs: number, label: string): void;
  /** Clears the bar away. */
  end(): void;
}

const silent: Progress = { update: () => undefined, end: () => undefined };

/** A bar on a terminal; nothing elsewhere, so that logs stay clean. */
export function showProgress(stream: NodeJS.WriteStream): Progress {
  if (!stream.isTTY) return silent;
  const bar = new SingleBar({
    stream,
    format: '{bar} {percentage} % | {label}',
    barsize: 30,
    hideCursor: true,
    clearOnComplete: true,
    stopOnComplete: false,
    // Ctrl-C is ours: it ends the measurement, not the process.
    gracefulExit: false,
  });
  let started = false;
  return {
    update: (doneMs, totalMs, label) => {
      if (!started) bar.start(totalMs, doneMs, { label });
      started = true;
      bar.update(doneMs, { label });
    },
    end: () => bar.stop(),
  };
}
