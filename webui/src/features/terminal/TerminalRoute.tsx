import { ActionIcon, Group, Tabs, Tooltip } from '@mantine/core'
import { IconPlus, IconTextDecrease, IconTextIncrease, IconX } from '@tabler/icons-react'
import { useParams } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { TerminalPane } from './TerminalPane'

type Tab = { id: string; number: number }

/** Several shells of one session. Their ids are kept for the window, so a reload comes back to the same shells. */
export default function TerminalRoute() {
  const { t } = useTranslation()
  const { id } = useParams({ strict: false }) as { id: string }
  const key = `berth.terminals.${id}`
  const [tabs, setTabs] = useState<Tab[]>(() => {
    const kept = JSON.parse(sessionStorage.getItem(key) ?? '[]') as Tab[]
    return kept.length > 0 ? kept : [fresh(1)]
  })
  const [active, setActive] = useState(tabs[0]?.id ?? '')
  const [size, setSize] = useState(() => Number(localStorage.getItem('berth.terminal.size')) || 14)

  useEffect(() => sessionStorage.setItem(key, JSON.stringify(tabs)), [key, tabs])
  useEffect(() => localStorage.setItem('berth.terminal.size', String(size)), [size])
  useEffect(() => {
    document.title = `${t('terminal.title')} · Berth`
  }, [t])

  function add() {
    const tab = fresh(Math.max(0, ...tabs.map((one) => one.number)) + 1)
    setTabs([...tabs, tab])
    setActive(tab.id)
  }

  function close(tab: Tab) {
    const left = tabs.filter((one) => one.id !== tab.id)
    const next = left.length > 0 ? left : [fresh(tab.number + 1)]
    setTabs(next)
    if (active === tab.id) setActive(next.at(-1)?.id ?? '')
  }

  return (
    <main className="terminal">
      <Group justify="space-between" px="xs" py={4} wrap="nowrap">
        <Tabs
          value={active}
          onChange={(value) => setActive(value ?? '')}
          variant="pills"
          color="teal"
          keepMounted
        >
          <Tabs.List>
            {tabs.map((tab) => (
              <Tabs.Tab key={tab.id} value={tab.id} py={4}>
                {t('terminal.tab', { number: tab.number })}
              </Tabs.Tab>
            ))}
          </Tabs.List>
        </Tabs>
        <Group gap={4} wrap="nowrap">
          {[
            { label: t('terminal.new'), icon: IconPlus, act: add },
            {
              label: t('terminal.close'),
              icon: IconX,
              act: () => tabs.filter((tab) => tab.id === active).forEach(close),
            },
            {
              label: t('terminal.smaller'),
              icon: IconTextDecrease,
              act: () => setSize(Math.max(9, size - 1)),
            },
            {
              label: t('terminal.larger'),
              icon: IconTextIncrease,
              act: () => setSize(Math.min(28, size + 1)),
            },
          ].map((one) => (
            <Tooltip key={one.label} label={one.label}>
              <ActionIcon variant="subtle" c="gray.4" aria-label={one.label} onClick={one.act}>
                <one.icon size={17} aria-hidden />
              </ActionIcon>
            </Tooltip>
          ))}
        </Group>
      </Group>
      {tabs.map((tab) => (
        <TerminalPane
          key={tab.id}
          sessionId={id}
          terminalId={tab.id}
          shown={tab.id === active}
          size={size}
          label={t('terminal.tab', { number: tab.number })}
        />
      ))}
    </main>
  )
}

function fresh(number: number): Tab {
  return { id: `w${crypto.randomUUID().replaceAll('-', '').slice(0, 16)}`, number }
}
