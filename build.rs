//! Links CZMQ, gives the shared library its soname, and refuses to link a second copy of libzmq.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DEP_ZMQ_SYSTEM");

    if std::env::var_os("DEP_ZMQ_SYSTEM").is_none() {
        eprintln!(
            "\nerror: this build would link the libzmq that the zmq-sys crate bundles, beside the system's libzmq\n\
             that CZMQ uses. Two copies in one process corrupt each other's sockets. dafka's .cargo/config.toml\n\
             selects the system's library for x86_64 and aarch64 Linux (GNU); cargo finds that file only from the\n\
             working directory: run cargo inside dafka's source directory, or use CMake or make, which do so.\n"
        );
        std::process::exit(1);
    }

    // The soname contains the major version of the ABI, not of the package. It stays 0 as long as programs that were
    // linked with 0.1.0 run with this library.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libdafka.so.0");
    println!("cargo:rustc-link-lib=czmq");
    println!("cargo:rustc-link-lib=zmq");
}
