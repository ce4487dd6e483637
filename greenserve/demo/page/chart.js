// The chart of requests in flight: the last 30 seconds as an area, drawn on a canvas in the page's own colours.

const WINDOW = 30_000; // milliseconds on the x axis
const LEFT = 44;       // pixels for the y axis' numbers
const BOTTOM = 22;
const TOP = 10;
const SMALLEST = 10;   // the y axis never ends below this, or one request would look like a flood

export class Chart {
  #canvas;
  #tip;
  #points = [];        // {at: milliseconds, value}, oldest first, never more than the window holds
  #top = SMALLEST;     // where the y axis ends now; it glides to where it should end
  #pointer = null;
  #colours = {};
  #still = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(canvas, tip) {
    this.#canvas = canvas;
    this.#tip = tip;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.#readColours());
    this.#readColours();
    canvas.addEventListener("pointermove", (event) => { this.#pointer = event.offsetX; this.#draw(); });
    canvas.addEventListener("pointerleave", () => { this.#pointer = null; this.#draw(); });
    const frame = () => {
      if (!this.#still.matches && this.#busy()) this.#draw();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  add(value) {
    const now = performance.now();
    this.#points.push({ at: now, value });
    // One point from before the window stays, so that the line reaches the left edge.
    while (this.#points.length > 2 && this.#points[1].at < now - WINDOW - 1000) this.#points.shift();
    if (this.#still.matches || !this.#busy()) this.#draw();
  }

  #busy() {
    return Math.abs(this.#top - this.#target()) > 0.5 || this.#points.some((point) => point.value > 0);
  }

  #readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["green", "wash", "line", "soft", "card", "ink"]) this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    this.#draw();
  }

  #target() {
    const highest = this.#points.reduce((most, point) => Math.max(most, point.value), 0) * 1.1;
    if (highest <= SMALLEST) return SMALLEST;
    const scale = 10 ** Math.floor(Math.log10(highest));
    return [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].map((step) => step * scale).find((end) => end >= highest);
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    const gap = this.#target() - this.#top;
    this.#top = this.#still.matches || Math.abs(gap) < 0.5 ? this.#target() : this.#top + gap * 0.18;
    const context = this.#canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    // The feed is a tenth of a second behind; drawing a little later lets the line glide in instead of jumping.
    const now = performance.now() - (this.#still.matches ? 0 : 150);
    const x = (at) => width - ((now - at) / WINDOW) * (width - LEFT);
    const y = (value) => height - BOTTOM - (value / this.#top) * (height - BOTTOM - TOP);
    this.#axes(context, width, height, y);
    this.#area(context, width, x, y);
    this.#mark(context, width, x, y);
  }

  #axes(context, width, height, y) {
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    context.fillStyle = this.#colours.soft;
    context.strokeStyle = this.#colours.line;
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (let step = 0; step <= 4; step += 2) {
      const value = (this.#target() * step) / 4;
      const line = Math.round(y(value)) + 0.5;
      if (line < 0) continue;
      context.beginPath();
      context.moveTo(LEFT, line);
      context.lineTo(width, line);
      context.stroke();
      context.fillText(value.toLocaleString("en"), LEFT - 8, line);
    }
    context.textBaseline = "alphabetic";
    context.textAlign = "left";
    context.fillText("30 s ago", LEFT, height - 4);
    context.textAlign = "right";
    context.fillText("now", width, height - 4);
  }

  #area(context, width, x, y) {
    if (!this.#points.length) return;
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, width - LEFT, y(0) + 2);
    context.clip();
    context.beginPath();
    for (const point of this.#points) context.lineTo(x(point.at), y(point.value));
    const last = this.#points.at(-1);
    context.lineTo(Math.max(width, x(last.at)), y(last.value));
    context.strokeStyle = this.#colours.green;
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.stroke();
    context.lineTo(Math.max(width, x(last.at)), y(0));
    context.lineTo(x(this.#points[0].at), y(0));
    context.fillStyle = this.#colours.wash;
    context.fill();
    context.restore();
  }

  #mark(context, width, x, y) {
    const shown = this.#pointer !== null && this.#pointer >= LEFT && this.#points.length;
    this.#tip.hidden = !shown;
    if (!shown) return;
    const near = this.#points.reduce((best, point) => (Math.abs(x(point.at) - this.#pointer) < Math.abs(x(best.at) - this.#pointer) ? point : best));
    const at = Math.min(width - 4, Math.max(LEFT, x(near.at)));
    context.beginPath();
    context.arc(at, y(near.value), 4, 0, 2 * Math.PI);
    context.fillStyle = this.#colours.green;
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = this.#colours.card;
    context.stroke();
    const ago = Math.max(0, (performance.now() - near.at) / 1000);
    this.#tip.textContent = `${near.value.toLocaleString("en")} · ${ago.toFixed(1)} s ago`;
    this.#tip.style.left = `${Math.min(at, width - this.#tip.offsetWidth)}px`;
  }
}
