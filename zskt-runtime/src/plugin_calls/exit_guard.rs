//! A plugin that exits the program ends the run with an error: exit code 0 would say that the run is done.

#[cfg(unix)]
mod unix {
    #![expect(unsafe_code, reason = "only C knows that the program exits")]

    use std::sync::{Mutex, Once, PoisonError};
    use std::thread::{self, ThreadId};

    use super::super::attribution::PluginOfNode;

    /// Of each thread in which plugins are at work, the outermost.
    static WATCHED: Mutex<Vec<(ThreadId, PluginOfNode)>> = Mutex::new(Vec::new());

    /// While a plugin is at work, nobody else exits.
    pub fn enter(plugin: PluginOfNode) {
        static LISTEN: Once = Once::new();
        // SAFETY: the handler is a function of this program, which is never unloaded.
        LISTEN.call_once(|| unsafe {
            // Where there is no room for a handler, an exit is not noticed.
            libc::atexit(at_exit);
        });
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).push((thread::current().id(), plugin));
    }

    /// One plugin less is at work.
    pub fn leave() {
        let this = thread::current().id();
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|(thread, _)| *thread != this);
    }

    extern "C" fn at_exit() {
        // The first is the plugin of the running node, within which all others are at work.
        let Some(running) = WATCHED.try_lock().ok().and_then(|watched| watched.first().map(|(_, plugin)| *plugin))
        else {
            return;
        };
        let message = match PluginOfNode::at_work() {
            Some(plugin) => format!("\nerror: {plugin} exited the program, which a plugin may not do\n"),
            None => {
                format!("\nerror: {running} was at work when a thread exited the program, which a plugin may not do\n")
            }
        };
        // SAFETY: these are the message's bytes. Rust's own streams may be locked by the thread that exits.
        unsafe {
            libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len());
            libc::_exit(1);
        }
    }
}

#[cfg(not(unix))]
mod unix {
    use super::super::attribution::PluginOfNode;

    pub fn enter(_: PluginOfNode) {}

    pub fn leave() {}
}

pub use unix::{enter, leave};
