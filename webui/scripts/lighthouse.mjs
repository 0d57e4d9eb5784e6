// Lighthouse on the login and the list of sessions:  node scripts/lighthouse.mjs URL EMAIL PASSWORD
// Prints performance and accessibility of each, and fails below 95. Measure on a quiet machine.
import lighthouse, { desktopConfig } from 'lighthouse'
import puppeteer from 'puppeteer-core'

const [url, email, password] = process.argv.slice(2)
const browser = await puppeteer.launch({
  executablePath: process.env.CHROME_PATH ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
let worst = 100

async function measure(name, path, page) {
  const { lhr } = await lighthouse(`${url}${path}`, { disableStorageReset: true, onlyCategories: ['performance', 'accessibility'] }, desktopConfig, page)
  for (const category of Object.values(lhr.categories)) {
    const score = Math.round(category.score * 100)
    worst = Math.min(worst, score)
    console.log(`${name}: ${category.title.toLowerCase()} ${score}`)
    for (const { id } of category.auditRefs) {
      const audit = lhr.audits[id]
      if (category.id === 'accessibility' && audit.score !== null && audit.score < 1) console.log(`  ${id}: ${audit.title}`)
    }
  }
  if (lhr.runtimeError) console.log(lhr.runtimeError.message)
}

const page = await browser.newPage()
await measure('login', '/login', page)
await page.goto(`${url}/login`)
await page.waitForSelector('input[type=email]')
await page.type('input[type=email]', email)
await page.type('input[type=password]', password)
await Promise.all([page.waitForNavigation({ waitUntil: 'networkidle2' }).catch(() => undefined), page.click('button[type=submit]')])
await page.waitForSelector('nav')
await measure('sessions', '/sessions', page)
await browser.close()
process.exit(worst >= 95 ? 0 : 1)
