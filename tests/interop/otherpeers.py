"""Peers in languages whose tools and packages are not Debian's: gRPC's interop cases on grpc-js (tests/peers/node), on grpc-java (tests/peers/java) and on tonic
(tests/peers/rust).

Built once into build/cache; where a language's tools or its packages are not to be had, it is left out, and the check says so."""
import glob
import os
import shutil
import subprocess

PEERS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "peers")


def newest(path):
    return max((os.path.getmtime(f) for f in glob.glob(f"{path}/**", recursive=True) + [f"{PEERS}/interop.proto"]), default=0)


def step(cache, *command):
    try:
        run = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL, env={**os.environ, "PENSTOCK_PROTO": PEERS})
        return None if run.returncode == 0 else f"{command[0]}: {' '.join((run.stderr or run.stdout).split())[-200:]}"
    except subprocess.TimeoutExpired:
        return f"{command[0]} took longer than 600 s"


class Node:
    tools = ["node", "npm"]

    @staticmethod
    def build(source, cache):
        shutil.copy(f"{source}/package.json", cache)
        return step(cache, "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")

    @staticmethod
    def command(source, cache, script="testservice.js", proto="interop.proto"):
        return ["env", f"NODE_PATH={cache}/node_modules", f"PENSTOCK_PROTO={PEERS}/{proto}", "node", f"{source}/{script}"]


class Java:
    tools = ["java", "javac", "mvn", "protoc"]

    @staticmethod
    def build(source, cache):
        return (step(cache, "mvn", "-q", "-B", "-f", f"{source}/pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={cache}/lib")
                or step(cache, "protoc", f"--java_out={cache}", f"-I{PEERS}", "interop.proto")
                or step(cache, "javac", "-nowarn", "-d", "classes", "-cp", "lib/*", "grpc/testing/Interop.java", f"{source}/TestService.java"))

    @staticmethod
    def command(_source, cache):
        return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{cache}/classes:{cache}/lib/*", "TestService"]


class Rust:
    tools = ["cargo", "protoc"]

    @staticmethod
    def build(source, cache):
        shutil.copytree(source, f"{cache}/source")  # cargo leaves a file beside Cargo.toml
        return step(f"{cache}/source", "cargo", "build", "--quiet", "--target-dir", f"{cache}/target")

    @staticmethod
    def command(_source, cache):
        return [f"{cache}/target/debug/testservice"]


LANGUAGES = {"node": Node, "java": Java, "rust": Rust}


def where(build, language):
    return f"{PEERS}/{language}", os.path.abspath(f"{build}/cache/{language}")


def prepare(build, languages=tuple(LANGUAGES)):
    """Builds what is missing or older than its source.  The checks run in processes of their own: missing() tells them why a language is."""
    for language in languages:
        it = LANGUAGES[language]
        source, cache = where(build, language)
        absent = [tool for tool in it.tools if shutil.which(tool) is None]
        if os.path.exists(f"{cache}/built") and os.path.getmtime(f"{cache}/built") >= newest(source):
            continue
        shutil.rmtree(cache, ignore_errors=True)
        os.makedirs(cache)
        why = f"no {', '.join(absent)} here" if absent else it.build(source, cache)
        with open(f"{cache}/{'why' if why else 'built'}", "w", encoding="utf-8") as file:
            file.write(why or "")


def missing(build):
    """{language: why it cannot be had}"""
    out = {}
    for language in LANGUAGES:
        try:
            with open(f"{where(build, language)[1]}/why", encoding="utf-8") as file:
                out[language] = file.read()
        except OSError:
            pass
    return out


def ready(build):
    return [language for language in LANGUAGES if os.path.exists(f"{where(build, language)[1]}/built")]


def command(build, language):
    return LANGUAGES[language].command(*where(build, language))
