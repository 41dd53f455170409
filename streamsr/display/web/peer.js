// The connection to the server: the camera goes up, pairs of pictures come down, words go both ways.

const GATHER_MS = 3000;
const ALIVE_MS = 1000;
const BITS_PER_PIXEL = 6; // per second and pixel of the camera's picture: 1.4 Mb/s for 640x360, 12 for 1080p

export class Peer {
  // `shows`: "camera" or "source". `codec`: "vp8" if it must be that one. `wishes`: told at once. `hear`: called with each message of the server. `gone`: with why it ended, once.
  constructor(shows, codec, wishes, { hear, gone, line }) {
    Object.assign(this, { shows, codec, wishes, hear, gone, line, name: "", camera: null, before: null });
    this.pc = new RTCPeerConnection({ iceServers: [] });
  }

  // Resolves to the MediaStream of pairs. Rejects with an Error whose message can be shown.
  async connect(size) {
    const pc = this.pc;
    if (this.shows === "camera") {
      this.camera = await openCamera(size);
      if (!this.pc) {
        this.camera.getTracks().forEach((track) => track.stop());
        throw new Error("Stopped.");
      }
      const track = this.camera.getVideoTracks()[0];
      track.contentHint = "detail";
      track.onended = () => this.close("The camera was unplugged or taken away.");
      pc.addTrack(track, this.camera);
    } else {
      pc.addTransceiver("video", { direction: "recvonly" });
    }
    this.channel = pc.createDataChannel("words");
    this.channel.onopen = () => this.say(this.wishes);
    this.channel.onmessage = (event) => this.hear(JSON.parse(event.data));
    const stream = new Promise((resolve) => {
      pc.ontrack = (event) => {
        event.receiver.jitterBufferTarget = 0; // a preview shows what is, not what was
        resolve(new MediaStream([event.track]));
      };
    });
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === "failed") {
        this.close(
          "No connection for pictures. They come straight from the server over UDP, which a tunnel or a firewall" +
            " between this browser and the server does not let through.",
        );
      } else if (pc.connectionState === "closed") this.close("");
    };
    await pc.setLocalDescription();
    await gathered(pc);
    const answer = await post("offer", { sdp: pc.localDescription.sdp, shows: this.shows, codec: this.codec });
    this.name = answer.peer;
    await pc.setRemoteDescription({ type: "answer", sdp: faster(answer.sdp) });
    if (this.camera) await this.allow(size);
    this.timer = setInterval(() => this.tend(), ALIVE_MS);
    return stream;
  }

  // The browser's own limits for a camera are made for calls.
  async allow([width, height]) {
    const sender = this.pc.getSenders()[0];
    const parameters = sender.getParameters();
    parameters.degradationPreference = "maintain-resolution";
    for (const encoding of parameters.encodings) encoding.maxBitrate = width * height * BITS_PER_PIXEL;
    await sender.setParameters(parameters).catch(() => {}); // older browsers know less; their limits stay
  }

  say(words) {
    if (this.channel && this.channel.readyState === "open") this.channel.send(JSON.stringify(words));
  }

  // Once a second: tells the server that somebody looks, and what came in since.
  async tend() {
    const now = { at: performance.now(), bytes: 0, decoded: 0, dropped: 0, lost: 0, asked: 0, trip: null };
    for (const each of (await this.pc.getStats()).values()) {
      if (each.type === "inbound-rtp" && each.kind === "video") {
        now.bytes = each.bytesReceived ?? 0;
        now.decoded = each.framesDecoded ?? 0;
        now.dropped = each.framesDropped ?? 0;
        now.lost = Math.max(0, each.packetsLost ?? 0);
        now.asked = each.pliCount ?? 0;
      } else if (each.type === "candidate-pair" && each.nominated) now.trip = each.currentRoundTripTime ?? null;
    }
    const before = this.before ?? now;
    this.before = now;
    this.say({ alive: true, key: now.asked > before.asked });
    const seconds = (now.at - before.at) / 1000;
    if (seconds > 0) {
      const each = (key) => (now[key] - before[key]) / seconds;
      this.line({ bits: 8 * each("bytes"), fps: each("decoded"), dropped: now.dropped, lost: now.lost, trip: now.trip });
    }
  }

  close(why) {
    if (!this.pc) return;
    const pc = this.pc;
    this.pc = null;
    clearInterval(this.timer);
    this.camera?.getTracks().forEach((track) => track.stop());
    pc.close();
    if (this.name) {
      const words = new Blob([JSON.stringify({ peer: this.name })], { type: "application/json" });
      navigator.sendBeacon("leave", words);
    }
    this.gone(why);
  }
}

export async function post(path, words) {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(words) });
  if (!response.ok) throw new Error((await response.text()) || `The server answered ${response.status}.`);
  return response.json();
}

async function openCamera([width, height]) {
  const or = "or show the server's source instead.";
  if (!navigator.mediaDevices?.getUserMedia) {
    const port = location.port || "80";
    throw new Error(
      `A browser gives a page the camera only on localhost or over https, and this is ${location.host}.\n` +
        `On your own machine run: ssh -L ${port}:127.0.0.1:${port} ${location.hostname}\n` +
        `and open http://localhost:${port}/ with the same token, ${or}`,
    );
  }
  const video = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } };
  try {
    return await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (error) {
    const words = {
      NotAllowedError: `The camera was refused. Allow it for this page beside the browser's address bar, ${or}`,
      NotFoundError: `This browser knows no camera. Plug one in, ${or}`,
      NotReadableError: `The camera is busy. Close what else uses it, ${or}`,
    };
    throw new Error(words[error.name] ?? `The camera cannot be opened (${error.name}). Try another size, ${or}`);
  }
}

// All addresses are in the offer, as there is no other way to send them later.
function gathered(pc) {
  return new Promise((resolve) => {
    if (pc.iceGatheringState === "complete") resolve();
    pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && resolve();
    setTimeout(resolve, GATHER_MS);
  });
}

// Chromium begins at 300 kb/s and takes half a minute to trust the line; this makes it begin with a sharp picture.
function faster(sdp) {
  const lines = sdp.split("\r\n");
  const type = lines.find((line) => line.startsWith("m=video "))?.split(" ")[3];
  const at = lines.findIndex((line) => line.startsWith(`a=fmtp:${type} `));
  const rtpmap = lines.findIndex((line) => line.startsWith(`a=rtpmap:${type} `));
  if (at >= 0) lines[at] += ";x-google-start-bitrate=2500";
  else if (rtpmap >= 0) lines.splice(rtpmap + 1, 0, `a=fmtp:${type} x-google-start-bitrate=2500`);
  return lines.join("\r\n");
}
