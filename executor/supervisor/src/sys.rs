//! The system calls that nobody wraps safely: waiting with resource usage, a signal descriptor, a
//! socket's peer, and what a child does between fork and exec.
//!
//! This is the only room of the workspace with `unsafe` code. It decides nothing.
#![expect(unsafe_code, reason = "the one room for it; each block says why it is sound")]

use std::ffi::{CString, c_char};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use ocelot_core::frame::Exit;
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid, set_parent_process_death_signal};

use crate::protocol::Usage;

/// What a child becomes before it runs the stage's program.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
}

/// What is known of a socket's other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Zero for a process outside this PID namespace.
    pub(crate) pid: i32,
    pub(crate) uid: u32,
}

/// Keeps whatever descriptors this program was started with from its children.
pub(crate) fn close_inherited_on_exec() {
    const FIRST: libc::c_int = 3;
    /// The usual limit; kernels from before 5.11 do not do it with one call.
    const LAST: libc::c_int = 1024;
    // SAFETY: both calls set a flag and close nothing, so no descriptor that somebody owns goes away.
    unsafe {
        let flag = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
        if libc::close_range(FIRST as libc::c_uint, libc::c_uint::MAX, flag) != 0 {
            for descriptor in FIRST..LAST {
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// Turns the signals that a supervisor hears into something to poll.
pub(crate) fn signal_descriptor() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised by sigemptyset before anything reads it, and outlives the calls;
    // the descriptor that signalfd returns is new and nobody else's.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        check(libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut()))?;
        let descriptor = check(libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Takes all signals that wait; returns whether one of them asks for the end.
pub(crate) fn take_signals(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    let mut ends = false;
    let mut record = [0; size_of::<libc::signalfd_siginfo>()];
    loop {
        match rustix::io::read(descriptor, &mut record) {
            // The signal's number is the first field of a record.
            Ok(_) => ends |= record[..4] != (libc::SIGCHLD as u32).to_ne_bytes(),
            Err(rustix::io::Errno::AGAIN) => return Ok(ends),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns a child that has ended, and leaves it a zombie.
pub(crate) fn peek_dead_child() -> io::Result<Option<i32>> {
    let mut record = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the record is valid for writing; all its bytes being zero is a valid value, which is
    // what stays there when no child has ended; si_pid is what waitid fills in.
    let pid = unsafe {
        match check(libc::waitid(libc::P_ALL, 0, record.as_mut_ptr(), options)) {
            Ok(_) => record.assume_init().si_pid(),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => 0,
            Err(error) => return Err(error),
        }
    };
    Ok((pid != 0).then_some(pid))
}

/// Returns whether this process has no child at all, dead or alive.
pub(crate) fn has_no_child() -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: no record is asked for, and nothing is reaped.
    let looked = unsafe { check(libc::waitid(libc::P_ALL, 0, std::ptr::null_mut(), options)) };
    looked.is_err_and(|error| error.raw_os_error() == Some(libc::ECHILD))
}

/// Takes a dead child off the process table.
pub(crate) fn reap(pid: i32) -> io::Result<(Exit, Usage)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both are valid for writing, and a zeroed rusage is a valid one.
    let usage = unsafe {
        check(libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()))?;
        usage.assume_init()
    };
    let exit = match libc::WIFSIGNALED(status) {
        true => Exit::Signal(libc::WTERMSIG(status)),
        false => Exit::Code(libc::WEXITSTATUS(status)),
    };
    Ok((exit, usage_of(&usage)))
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let micros = |time: libc::timeval| (time.tv_sec as u64) * 1_000_000 + time.tv_usec as u64;
    Usage {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        resident_bytes_max: usage.ru_maxrss as u64 * 1024,
        major_faults: usage.ru_majflt as u64,
        blocks_read: usage.ru_inblock as u64,
        blocks_written: usage.ru_oublock as u64,
    }
}

/// Sends a signal, or only asks with 0, to every other process of this PID namespace. Only its init
/// may call this. Returns whether there was any.
pub(crate) fn kill_namespace(signal: i32) -> bool {
    // SAFETY: kill takes no memory.
    unsafe { libc::kill(-1, signal) == 0 }
}

/// Ends this program without any of the things that a library does at its end and that could wait.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: it does not return, and nothing of this program runs afterwards.
    unsafe { libc::_exit(status) }
}

/// Returns who connected.
pub(crate) fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointers are to a ucred and its length, both alive for the call. (The safe wrapper
    // has a type without a process number of zero, which is what is looked for here.)
    unsafe {
        check(libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        ))?;
    }
    Ok(Peer { pid: peer.pid, uid: peer.uid })
}

/// Starts the command in a session and process group of its own, as somebody, with no trace of the
/// supervisor's own signal settings and limits.
pub(crate) fn spawn(command: &mut Command, identity: Option<Identity>, core: Rlimit) -> io::Result<i32> {
    let prepare = move || {
        rustix::process::setsid()?;
        rustix::process::setrlimit(Resource::Core, core)?;
        reset_signals();
        identity.as_ref().map_or(Ok(()), become_identity)?;
        // Without its supervisor a stage has no guard. Last, because becoming somebody clears it.
        Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
    };
    // SAFETY: the closure runs in a forked child. It makes system calls only: it does not allocate,
    // lock or unwind.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    i32::try_from(child.id()).map_err(io::Error::other)
}

/// Starts a program with an empty environment as a member of a control group (new kind), where it is
/// from its first moment on. Returns none where the kernel does not do that. Blocks until the program
/// is loaded.
pub(crate) fn spawn_in_group(
    group: BorrowedFd<'_>,
    argv: &[CString],
    standard: [BorrowedFd<'_>; 3],
) -> io::Result<Option<i32>> {
    /// Wider than the type that `libc` gives it.
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    let mut words: Vec<*const c_char> = argv.iter().map(|word| word.as_ptr()).collect();
    words.push(std::ptr::null());
    let environment: [*const c_char; 1] = [std::ptr::null()];
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let standard = standard.map(|descriptor| descriptor.as_raw_fd());
    // SAFETY: all memory that the calls read or fill is alive here. The child is a copy of one thread,
    // with its signals blocked; it makes system calls only, on memory made before, and then is another
    // program or ends: it does not return from this block.
    let pid = unsafe {
        let mut asked: libc::clone_args = std::mem::zeroed();
        asked.flags = CLONE_INTO_CGROUP | libc::CLONE_VFORK as u64;
        asked.exit_signal = libc::SIGCHLD as u64;
        asked.cgroup = group.as_raw_fd() as u64;
        let (mut all, mut before) = (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::uninit());
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let pid = libc::syscall(libc::SYS_clone3, &raw mut asked, size_of::<libc::clone_args>());
        if pid == 0 {
            for (place, descriptor) in (0..).zip(standard) {
                libc::dup2(descriptor, place);
            }
            libc::execve(words[0], words.as_ptr(), environment.as_ptr());
            let error = *libc::__errno_location();
            libc::write(tell.as_raw_fd(), (&raw const error).cast(), size_of::<i32>());
            libc::_exit(127);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
        pid
    };
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else { return Ok(None) };
    drop(tell);
    let mut error = [0; size_of::<i32>()];
    match rustix::io::retry_on_intr(|| rustix::io::read(&told, &mut error)) {
        Ok(0) => Ok(Some(pid)),
        Ok(_) => {
            let _status = reap(pid);
            Err(io::Error::from_raw_os_error(i32::from_ne_bytes(error)))
        }
        Err(error) => Err(error.into()),
    }
}

/// An ignored or blocked signal would be inherited by the stage.
fn reset_signals() {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: SIG_DFL is no handler of ours; the set is initialised before it is read. Numbers that
    // may not be set are refused without harm.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// The child has one thread, so what counts for a thread counts for all of it.
fn become_identity(identity: &Identity) -> io::Result<()> {
    rustix::thread::set_thread_groups(&identity.groups)?;
    rustix::thread::set_thread_gid(identity.gid)?;
    rustix::thread::set_thread_uid(identity.uid)?;
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}
