import 'uplot/dist/uPlot.min.css'
import { Group, Paper, SimpleGrid, Text, Title, useComputedColorScheme } from '@mantine/core'
import { useEffect, useMemo, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import UPlot from 'uplot'
import { useClient, useQuery } from 'urql'
import type { SessionStatsSubscription } from '../../gql/graphql'
import { bytes } from '../../shared/format'
import { HISTORY, STATS } from './documents'

type Sample = SessionStatsSubscription['sessionStats']
type Series = {
  label: string
  values: (number | null)[]
  color: string
  /** The most that it can be. */
  limit?: number
}

const KEPT = 300

/** Live load: what the manager remembers first, then each sample as it comes. */
export default function Charts({ id, live }: { id: string; live: boolean }) {
  const { t } = useTranslation()
  const client = useClient()
  const [{ data }] = useQuery({ query: HISTORY, variables: { id }, requestPolicy: 'network-only' })
  const [fresh, setFresh] = useState<Sample[]>([])
  useEffect(() => {
    if (!live) return
    const { unsubscribe } = client.subscription(STATS, { id }).subscribe(({ data }) => {
      if (data) setFresh((before) => [...before, data.sessionStats].slice(-KEPT))
    })
    return unsubscribe
  }, [client, id, live])

  const samples = useMemo(() => {
    const known = data?.node && 'statsHistory' in data.node ? data.node.statsHistory : []
    const first = fresh[0]?.at
    return [...known.filter((sample) => !first || sample.at < first), ...fresh].slice(-KEPT)
  }, [data, fresh])

  if (samples.length === 0) return <Text c="dimmed">{t('session.noStats')}</Text>
  const times = samples.map((sample) => Date.parse(sample.at) / 1000)
  const plain = (pick: (sample: Sample) => string) => samples.map((sample) => Number(pick(sample)))
  const rate = (pick: (sample: Sample) => string) =>
    samples.map((sample, index) => {
      const before = samples[index - 1]
      const seconds = before ? (Date.parse(sample.at) - Date.parse(before.at)) / 1000 : 0
      return before && seconds > 0
        ? Math.max(0, (Number(pick(sample)) - Number(pick(before))) / seconds)
        : null
    })
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }}>
      <Chart
        title={t('session.cpu')}
        times={times}
        series={[
          { label: t('session.cpu'), values: samples.map((sample) => sample.cpuPercent), color: '#1098ad' },
        ]}
        unit={(value) => `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} %`}
        least={5}
      />
      <Chart
        title={t('session.memory')}
        times={times}
        series={[
          {
            label: t('session.memory'),
            values: plain((sample) => sample.memoryBytes),
            color: '#7950f2',
            limit: Number(samples.at(-1)?.memoryLimitBytes) || undefined,
          },
        ]}
        unit={bytes}
        least={1024}
        binary
      />
      <Chart
        title={t('session.network')}
        times={times}
        series={[
          {
            label: t('session.received'),
            values: rate((sample) => sample.networkReceivedBytes),
            color: '#2f9e44',
          },
          { label: t('session.sent'), values: rate((sample) => sample.networkSentBytes), color: '#f76707' },
        ]}
        unit={(value) => `${bytes(value)}/s`}
        least={1024}
        binary
      />
      <Chart
        title={t('session.disk')}
        times={times}
        series={[
          { label: t('session.read'), values: rate((sample) => sample.blockReadBytes), color: '#2f9e44' },
          { label: t('session.written'), values: rate((sample) => sample.blockWriteBytes), color: '#f76707' },
        ]}
        unit={(value) => `${bytes(value)}/s`}
        least={1024}
        binary
      />
    </SimpleGrid>
  )
}

type ChartProps = {
  title: string
  times: number[]
  series: Series[]
  unit: (value: number) => string
  /** The scale reaches at least so far: noise near zero does not fill the chart. */
  least: number
  /** Ticks at powers of two. */
  binary?: boolean
}

const POWERS_OF_TWO = Array.from({ length: 50 }, (_, power) => 2 ** power)

function Chart({ title, times, series, unit, least, binary }: ChartProps) {
  const { i18n } = useTranslation()
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<UPlot>(null)
  const scheme = useComputedColorScheme('light')
  const labels = series.map((one) => `${one.label}${one.color}`).join()

  // biome-ignore lint/correctness/useExhaustiveDependencies: made anew only when what is drawn changes, not for each sample
  useEffect(() => {
    const element = place.current
    if (!element) return
    const ink = scheme === 'dark' ? '#a6a7ab' : '#5c5f66'
    const axis = {
      font: `12px ${getComputedStyle(element).fontFamily}`,
      stroke: ink,
      grid: { stroke: scheme === 'dark' ? '#2c2e33' : '#eceef0', width: 1 },
      ticks: { show: false },
    }
    const clock = new Intl.DateTimeFormat(i18n.language, {
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
      hourCycle: 'h23',
    })
    const made = new UPlot(
      {
        width: element.clientWidth || 400,
        height: 170,
        legend: { show: false },
        cursor: { y: false },
        padding: [10, 30, 0, 0],
        scales: { y: { range: (_plot, _least, most) => [0, Math.max(most * 1.15, least)] } },
        axes: [
          {
            ...axis,
            size: 22,
            space: 90,
            values: (_plot, ticks) => ticks.map((tick) => clock.format(tick * 1000)),
          },
          {
            ...axis,
            size: 66,
            ...(binary ? { incrs: POWERS_OF_TWO } : {}),
            values: (_plot, ticks) => ticks.map(unit),
          },
        ],
        series: [
          {},
          ...series.map((one) => ({
            label: one.label,
            stroke: one.color,
            width: 1.8,
            points: { show: false },
            fill: `${one.color}18`,
          })),
        ],
      },
      [times, ...series.map((one) => one.values)],
      element,
    )
    plot.current = made
    const watching = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: 170 }))
    watching.observe(element)
    return () => {
      watching.disconnect()
      made.destroy()
      plot.current = null
    }
  }, [scheme, labels, i18n.language])

  useEffect(() => {
    plot.current?.setData([times, ...series.map((one) => one.values)])
  }, [times, series])

  const now = series
    .map((one) => `${series.length > 1 ? `${one.label} ` : ''}${unit(one.values.at(-1) ?? 0)}`)
    .join(' · ')
  return (
    <Paper className="card" radius="md" p="md">
      <Group justify="space-between" align="baseline" mb="xs">
        <Title order={2} size="h6">
          {title}
        </Title>
        <Group gap="md">
          {series.map((one) => (
            <Group key={one.label} gap={6} wrap="nowrap">
              <span className="swatch" style={{ background: one.color }} />
              <Text size="sm">
                {series.length > 1 && `${one.label} `}
                <b>{unit(one.values.at(-1) ?? 0)}</b>
                {one.limit && ` / ${unit(one.limit)}`}
              </Text>
            </Group>
          ))}
        </Group>
      </Group>
      <div ref={place} role="img" aria-label={`${title}: ${now}`} />
    </Paper>
  )
}
