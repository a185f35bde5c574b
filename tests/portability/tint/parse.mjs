// node parse.mjs FOLDER...: every kernel of the folders through Tint, the WGSL compiler of Chromium, as far as a shader module goes
// (parsed and validated, no pipeline). tint.sh installs what it needs. Ends with code 1 where a kernel is refused.
//
// Subgroups are an extension that WGSL wants enabled in the text, and that naga 30 refuses to see enabled there: it is put in front
// here, as a program in a browser has to. That control flow is uniform, Tint wants to see for itself; where a loop ends by what
// subgroupAny says it does not, though it is, and has to be told with a second line (`diagnostic(off, subgroup_uniformity);`): such
// kernels are counted by themselves. 64-bit integers are no part of WGSL: kernels with them are for native adapters alone.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

const { chromium } = createRequire(path.join(process.env.PORTABILITY_CACHE, 'node_modules', '_'))('playwright-core');

const kernels = new Map();
for (const folder of process.argv.slice(2))
  for (const file of fs.readdirSync(folder).filter(f => f.endsWith('.wgsl')))
    kernels.set(file, fs.readFileSync(path.join(folder, file), 'utf8'));
const apart = [...kernels].filter(([, text]) => /\b[iu]64\b/.test(text)).map(([file]) => file);
apart.forEach(file => kernels.delete(file));
const names = [...kernels.keys()].sort();

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan,WebGPU',
    '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const failed = [];
let told = 0;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tint-'));
try {
  const page = await browser.newPage();
  // WebGPU wants a page that counts as secure.
  const empty = path.join(folder, 'empty.html');
  fs.writeFileSync(empty, '<!doctype html>');
  await page.goto('file://' + empty);
  const features = await page.evaluate(async () => {
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) return null;
    window.device = await adapter.requestDevice({ requiredFeatures: ['subgroups'].filter(f => adapter.features.has(f)) });
    return [...window.device.features];
  });
  if (!features) throw new Error('this Chromium gives no WebGPU adapter');
  for (let at = 0; at < names.length; at += 50) {
    const part = names.slice(at, at + 50);
    const texts = part.map(name => {
      const text = kernels.get(name);
      return /\bsubgroup|\bsubgroup_size\b/.test(text) ? 'enable subgroups;\n' + text : text;
    });
    const results = await page.evaluate(async texts => {
      const compile = async code => {
        window.device.pushErrorScope('validation');
        const info = await window.device.createShaderModule({ code }).getCompilationInfo();
        const refused = await window.device.popErrorScope();
        const error = info.messages.find(m => m.type === 'error');
        const warning = info.messages.find(m => m.type === 'warning');
        return error ? `${error.lineNum}: ${error.message}` : refused ? refused.message : warning ? `warning: ${warning.message}` : '';
      };
      const results = [];
      for (const code of texts) {
        let message = await compile(code), told = false;
        if (message.includes('subgroup uniform control flow')) {
          told = true;
          message = await compile(code.replace('enable subgroups;', 'enable subgroups; diagnostic(off, subgroup_uniformity);'));
        }
        results.push({ message, told });
      }
      return results;
    }, texts);
    results.forEach(({ message, told: was }, i) => {
      if (message) failed.push(`${part[i]}: ${message}`);
      else if (was) told++;
    });
  }
  console.log(`Chromium ${browser.version()}: ${names.length - failed.length} ok (${told} with the uniformity of subgroups vouched for), ` +
    `${failed.length} failed, ${apart.length} apart`);
} finally {
  await browser.close();
  fs.rmSync(folder, { recursive: true });
}
failed.slice(0, 20).forEach(line => console.log('    ' + line));
process.exit(failed.length || !names.length ? 1 : 0);
