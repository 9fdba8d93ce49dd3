"""weir fibers: a backtrace of every live fiber, in a running process or a core file.

    gdb -x tool/gdb/fibers.py build/weir core
    (gdb) weir fibers

A fiber that does not run has left its registers on its own stack (src/core/fiber_switch.S). An unwinder makes them
the caller of the selected thread's innermost frame, so that gdb walks the fiber's stack with its own means; nothing
is written to the process.
"""
import gdb
import gdb.unwinder

# what fiber_switch leaves, from the stack pointer upward: register and offset; and how far the pointer goes back
FRAMES = {
    "i386:x86-64": ([("r15", 0), ("r14", 8), ("r13", 16), ("r12", 24), ("rbx", 32), ("rbp", 40), ("rip", 48)],
                    56, "rip", "rsp"),
    "aarch64": ([("x29", 0), ("pc", 8)] + [(f"x{19 + i}", 16 + 8 * i) for i in range(10)], 160, "pc", "sp"),
}
STATES = ["ready", "running", "waiting", "blocked", "held"]


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class FiberUnwinder(gdb.unwinder.Unwinder):
    """Off except while a fiber is shown."""

    def __init__(self):
        super().__init__("weir-fiber")
        self.sp = None
        self.done = False

    def __call__(self, pending):
        if self.sp is None or self.done:
            return None
        self.done = True  # the innermost frame only
        registers, size, pc_name, sp_name = FRAMES[pending.architecture().name()]
        here = pending.read_register(sp_name)
        info = pending.create_unwind_info(FrameId(here, pending.read_register(pc_name)))
        word = gdb.lookup_type("unsigned long")
        for name, offset in registers:
            value = gdb.Value(self.sp + offset).cast(word.pointer()).dereference()
            info.add_saved_register(name, value.cast(pending.read_register(name).type)
                                    if name != pc_name else value)
        info.add_saved_register(sp_name, gdb.Value(self.sp + size).cast(word))
        return info


UNWINDER = FiberUnwinder()
gdb.unwinder.register_unwinder(None, UNWINDER, replace=True)


def each_link(head):
    link = head["next"]
    while link != head.address:
        yield link
        link = link["next"]


def backtrace_of(stack_pointer):
    UNWINDER.sp = int(stack_pointer)
    UNWINDER.done = False
    gdb.invalidate_cached_frames()
    try:
        lines = gdb.execute("bt 40", to_string=True).splitlines()
    finally:
        UNWINDER.sp = None
        gdb.invalidate_cached_frames()
    return [line for line in lines if not line.startswith("#0")]  # that one is the thread's own


class Weir(gdb.Command):
    """Commands about a weir process."""

    def __init__(self):
        super().__init__("weir", gdb.COMMAND_STACK, prefix=True)


class Fibers(gdb.Command):
    """A backtrace of every live fiber of every worker."""

    def __init__(self):
        super().__init__("weir fibers", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        fiber_type = gdb.lookup_type("struct fiber")
        offset = next(f.bitpos // 8 for f in fiber_type.fields() if f.name == "live")
        worker = gdb.parse_and_eval("worker_all")
        while worker:
            fibers = worker["fibers"]
            print(f"worker {int(worker['index'])} ({worker['name'].string()}): {int(fibers['live_count'])} fibers")
            for link in each_link(fibers["live"]):
                address = int(link) - offset
                self.show(gdb.Value(address).cast(fiber_type.pointer()), fibers)
            worker = worker["next"]

    def show(self, fiber, fibers):
        print(f"fiber {hex(int(fiber))}: {STATES[int(fiber['state'])]}, {fiber['fn'].format_string()}")
        if fiber == fibers["current"]:
            print("    runs on its worker's thread: see thread apply all bt")
        elif not fiber["stack"]:
            print("    has not begun")
        else:
            for line in backtrace_of(fiber["stack"]["sp"]):
                print("    " + line)


Weir()
Fibers()
