// Loaded before Azurite: whoever started it holds the other end of its input, so a test process that
// is killed leaves no server behind. The input itself keeps nothing alive.
process.stdin.on("end", () => process.exit(0)).resume();
process.stdin.unref?.();
