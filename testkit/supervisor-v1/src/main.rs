//! The program of this crate. Its standard input is a socket to the server.

fn main() -> std::io::Result<()> {
    supervisor_v1::main()
}
