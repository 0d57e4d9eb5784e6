import { Alert, Button, Group, Paper, Stack, Text, Title } from '@mantine/core'
import { IconAlertTriangle, IconCircleCheck, IconClock, IconRocket } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import { bytes } from '../../shared/format'
import type { Availability, Verdict } from './verdict'

const LOOKS = {
  fits: ['teal', IconCircleCheck],
  waits: ['yellow', IconClock],
  never: ['red', IconAlertTriangle],
  overLimit: ['red', IconAlertTriangle],
} as const

type Props = {
  title: string
  wanted: Record<string, number>
  /** Names of the amounts that the image raises. */
  raised: string[]
  verdict?: Verdict
  availability?: Availability
  busy: boolean
  ready: boolean
}

/** What will be asked for, whether it would start now, and the button. */
export function Summary(props: Props) {
  const { t } = useTranslation()
  const [color, Icon] = LOOKS[props.verdict ?? 'waits']
  const shown = (name: string, value: number) => (name === 'mem' ? bytes(value) : String(value))
  const { limit, used } = props.availability?.sessions ?? {}
  return (
    <Paper className="card" radius="md" p="lg" pos="sticky" top={84}>
      <Stack gap="sm">
        <Title order={2} size="h5">
          {t('launcher.summary')}
        </Title>
        <Text size="sm" fw={500}>
          {props.title}
        </Text>
        {Object.entries(props.wanted).map(([name, value]) => {
          const slot = props.availability?.slots.find((one) => one.name === name)
          return (
            <Group key={name} justify="space-between" gap="xs" align="baseline">
              <Text size="sm">{t(`slots.${name}`, name)}</Text>
              <div style={{ textAlign: 'right' }}>
                <Text size="sm" fw={600}>
                  {shown(name, value)}
                </Text>
                {slot && (
                  <Text size="xs" c="dimmed">
                    {t('launcher.free', { amount: shown(name, Number(slot.largestFree)) })}
                  </Text>
                )}
                {props.raised.includes(name) && (
                  <Text size="xs" c="orange.9">
                    {t('launcher.raised')}
                  </Text>
                )}
              </div>
            </Group>
          )
        })}
        {limit !== null && limit !== undefined && (
          <Group justify="space-between" gap="xs">
            <Text size="sm">{t('home.limit')}</Text>
            <Text size="sm" fw={600}>
              {used} / {limit}
            </Text>
          </Group>
        )}
        {props.verdict && (
          <Alert color={color} icon={<Icon size={18} aria-hidden />} p="sm" role="status">
            {t(`launcher.${props.verdict}`)}
          </Alert>
        )}
        <Button
          type="submit"
          size="md"
          loading={props.busy}
          disabled={!props.ready}
          leftSection={<IconRocket size={18} aria-hidden />}
        >
          {t('launcher.launch')}
        </Button>
      </Stack>
    </Paper>
  )
}
